"""A consumer that RabbitMQ cancels keeps the delayed messages it holds, and gets them again.

RabbitMQ 3.10 cancels only where a queue goes; 4.3 does so when a quorum queue's consumer times out.
Here pika is given what it gives to pika, a `basic.cancel`.
"""

from typing import Any

from dramatiq.common import dq_name
from pika.frame import Method
from pika.spec import Basic

from tests.stock.rig import SENT, Facts, Rig


def reproduce(rig: Rig) -> Facts:
    broker = rig.broker()
    runs: list[int] = []
    actor = rig.actor(broker, runs.append)
    worker = rig.work(broker, threads=4)
    delayed = worker.consumers[dq_name(rig.queue)]
    for number in range(SENT):
        actor.send_with_options(args=(number,), delay=3_000)
    rig.wait(lambda: delayed.delay_queue.qsize() == SENT, "all wait with the worker")

    cancelled = delayed.consumer
    _cancel(cancelled)
    rig.wait(lambda: delayed.consumer is not cancelled, "another consumer")
    rig.wait(lambda: not delayed.delay_queue.unfinished_tasks, "all due")
    rig.wait(lambda: rig.ready(rig.queue) == 0, "all delivered")
    rig.wait_idle(worker)
    rig.hang_up(worker)
    return {
        "sent, delayed": SENT,
        "run": len(runs),
        "run twice": len(runs) - len(set(runs)),
        "left": len(rig.left()),
    }


def _cancel(consumer: Any) -> None:
    channel = consumer.channel
    cancel = Basic.Cancel(channel._queue_consumer_generator.consumer_tag)
    consumer.connection.add_callback_threadsafe(
        lambda: channel._on_consumer_cancelled_by_broker(Method(channel.channel_number, cancel))
    )
