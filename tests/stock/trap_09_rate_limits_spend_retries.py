"""To wait for a rate limit spends a message's retries, and ends in the dead letters."""

from dramatiq.common import xq_name
from dramatiq.rate_limits import ConcurrentRateLimiter
from dramatiq.rate_limits.backends import StubBackend

from tests.stock.rig import SENT, Facts, Rig


def reproduce(rig: Rig) -> Facts:
    broker = rig.broker()
    one_at_a_time = ConcurrentRateLimiter(StubBackend(), "slot", limit=1)
    looked: list[int] = []
    ran: list[int] = []

    def work(number: int) -> None:
        looked.append(number)
        with one_at_a_time.acquire():
            ran.append(number)

    # Twenty retries by default; three are enough to see it.
    actor = rig.actor(broker, work, max_retries=3, min_backoff=50, max_backoff=100)
    with one_at_a_time.acquire():
        for number in range(SENT):
            actor.send(number)
        worker = rig.work(broker, threads=4)
        rig.wait(lambda: rig.ready(xq_name(rig.queue)) == SENT, "all are dead letters")
    rig.hang_up(worker)
    return {
        "sent, while another holds the slot": SENT,
        "run": len(ran),
        "turned away, each message": len(looked) // SENT,
        "dead letters": len(rig.left()),
    }
