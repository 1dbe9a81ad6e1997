"""Dead letters are gone after seven days, whether or not someone has looked at them.

Here after a second (`dramatiq_dead_message_ttl`).
"""

from dramatiq.brokers import rabbitmq
from dramatiq.common import xq_name

from tests.stock.rig import SENT, Facts, Rig


def reproduce(rig: Rig) -> Facts:
    by_default_s = rabbitmq.DEAD_MESSAGE_TTL // 1_000
    rabbitmq.DEAD_MESSAGE_TTL = 1_000
    broker = rig.broker()

    def fail() -> None:
        raise ValueError("a bug")

    actor = rig.actor(broker, fail, max_retries=0)
    for _ in range(SENT):
        actor.send()
    worker = rig.work(broker, threads=4)
    rig.wait(lambda: rig.ready(xq_name(rig.queue)) > 0, "dead letters")
    rig.wait_idle(worker)
    rig.wait(lambda: rig.ready(xq_name(rig.queue)) == 0, "no dead letters")
    rig.hang_up(worker)
    return {
        "sent": SENT,
        "lifetime of a dead letter by default, days": by_default_s // 86_400,
        "left a second after they failed": len(rig.left()),
        "lost": SENT,
    }
