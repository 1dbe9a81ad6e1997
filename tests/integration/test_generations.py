"""What holds on either generation of RabbitMQ; see docs/rabbitmq-generations.md."""

import os
from functools import partial
from typing import Any

import pika
from dramatiq.common import dq_name

from deploy.local.servers import RabbitMQ
from tests.conftest import eventually
from tests.integration.workshop import Workshop, new_queue


def test_server_and_tools_are_of_the_generation_asked_for(rabbitmq: RabbitMQ) -> None:
    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:
        release = connection._impl.server_properties["version"]

    assert release == rabbitmq.ctl("version").strip()
    assert release.startswith(os.environ.get("HOLDFAST_TEST_RABBITMQ", ""))


def test_a_message_may_be_put_back_any_number_of_times(workshop: Workshop) -> None:
    """RabbitMQ 4 gives a message up after 20 unless its queue says otherwise."""
    queue = new_queue()
    workshop.broker.declare_queue(queue, ensure=True)
    for name in (queue, dq_name(queue)):
        with workshop.connect() as connection:
            channel = connection.channel()
            channel.basic_publish("", name, b"comes again", mandatory=True)

            for _ in range(30):
                delivery, _, _ = eventually(partial(taken, channel, name))
                channel.basic_nack(delivery.delivery_tag, requeue=True)

        eventually(partial(workshop.messages_in, name), what=f"{name} keeps it")


def taken(channel: Any, queue: str) -> tuple[Any, Any, bytes] | None:
    """The next message of a queue, None while there is none."""
    found = channel.basic_get(queue)
    return found if found[0] else None
