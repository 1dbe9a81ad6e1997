"""Messages that wait or run for longer than RabbitMQ's consumer time-out come again, all of them.

Half an hour by default; here two seconds, looked after every half second.
"""

import time
from typing import Any

from dramatiq.middleware import Middleware

from tests.stock.rig import SENT, Facts, Rig


class Delays(Middleware):
    """Counts how often a worker was given a delayed message."""

    def __init__(self) -> None:
        self.seen = 0

    def before_delay_message(self, _broker: Any, _message: Any) -> None:
        self.seen += 1


def reproduce(rig: Rig) -> Facts:
    broker = rig.broker()
    delays = Delays()
    broker.add_middleware(delays)
    runs: list[float] = []

    def long_work() -> None:
        runs.append(time.monotonic())
        time.sleep(5)

    actor = rig.actor(broker, long_work)
    _set_environment(rig, consumer_timeout=2_000, channel_tick_interval=500)
    try:
        worker = rig.work(broker, threads=4)
        for _ in range(SENT):
            actor.send_with_options(delay=600_000)
        actor.send()
        rig.wait(lambda: len(runs) >= 2 and delays.seen >= 3 * SENT, "they came again")
    finally:
        _set_environment(rig, consumer_timeout=1_800_000, channel_tick_interval=60_000)
    rig.hang_up(worker)
    return {
        "sent with a delay": SENT,
        "delivered while they wait, each message": delays.seen // SENT,
        "sent, to run for five seconds": 1,
        "run": len(runs),
    }


def _set_environment(rig: Rig, **values: int) -> None:
    for name, value in values.items():
        rig.rabbitmq.ctl("eval", f"application:set_env(rabbit, {name}, {value}).")
