"""A connection that is not used for a while is closed by RabbitMQ, and found dead when it is."""

import time

import pika
import pika.exceptions

from tests.stock.rig import Facts, Rig

HEARTBEAT_S = 1


def reproduce(rig: Rig) -> Facts:
    return {
        f"idle for six heartbeats of {HEARTBEAT_S} s, then a publish": _publish(rig, confirm=False),
        "the same with confirms": _publish(rig, confirm=True),
    }


def _publish(rig: Rig, confirm: bool) -> str:
    url = f"{rig.rabbitmq.url}?heartbeat={HEARTBEAT_S}"
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    channel.queue_declare(rig.queue, durable=True)
    if confirm:
        channel.confirm_delivery()
    time.sleep(6 * HEARTBEAT_S)
    try:
        channel.basic_publish("", rig.queue, b"a body", mandatory=confirm)
    except pika.exceptions.AMQPError as error:
        return f"{type(error).__name__}, {rig.ready(rig.queue)} of 1 in the queue"
    return f"no error, {rig.ready(rig.queue)} of 1 in the queue"
