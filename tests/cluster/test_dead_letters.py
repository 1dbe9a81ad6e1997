"""The runbook of HoldfastDeadLetters, on a RabbitMQ that is configured as compose's is."""

import re
import shlex
from collections.abc import Iterator

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from deploy.local import ports
from deploy.local.rabbitmq import RabbitMQ
from tests.conftest import CHECKOUT, ROOT, eventually

COMPOSE = CHECKOUT / "deploy" / "compose"
RUNBOOK = CHECKOUT / "docs" / "runbooks" / "HoldfastDeadLetters.md"


class ComposeRabbitMQ(RabbitMQ):
    """With compose's plugins and limits instead of its own."""

    def prepare(self) -> None:
        super().prepare()
        plugins = (COMPOSE / "enabled_plugins").read_text()
        (self.folder / "enabled_plugins").write_text(plugins)

    def configuration(self) -> str:
        (port,) = ports.free_ports(1)
        metrics = f"prometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {port}\n"
        # Of two lines with one name the later counts.
        return super().configuration() + metrics + (COMPOSE / "rabbitmq.conf").read_text()


@pytest.fixture(scope="module")
def broker() -> Iterator[RabbitMQ]:
    with ComposeRabbitMQ(ROOT / "compose-rabbitmq") as running:
        yield running


@pytest.fixture
def channel(broker: RabbitMQ) -> Iterator[BlockingChannel]:
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        yield connection.channel()


def test_dead_letters_go_back_into_their_queue_as_the_runbook_says(
    broker: RabbitMQ, channel: BlockingChannel
) -> None:
    # Given messages that RabbitMQ gave up
    for name in ("holdfast.orders", "holdfast.orders.XQ"):
        channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"})
    channel.confirm_delivery()
    for number in range(3):
        properties = pika.BasicProperties(headers={"number": number}, delivery_mode=2)
        channel.basic_publish("", "holdfast.orders.XQ", str(number).encode(), properties)

    # When somebody follows the runbook
    (command,) = re.findall(r"```sh\n(.*?)```", RUNBOOK.read_text(), flags=re.DOTALL)
    program, *arguments = shlex.split(command)
    assert program == "rabbitmqctl"
    broker.ctl(*arguments)

    # Then they are in their queue as they were, and nothing is left to clear away
    def shovels() -> str:
        return broker.ctl("--vhost", "holdfast", "list_parameters")

    eventually(lambda: "back" not in shovels(), what="the shovel is gone")
    for number in range(3):
        _, properties, body = channel.basic_get("holdfast.orders", auto_ack=True)
        assert body == str(number).encode()
        assert properties.headers["number"] == number
    assert channel.basic_get("holdfast.orders.XQ") == (None, None, None)


def test_composes_limits_are_less_than_its_container_has(broker: RabbitMQ) -> None:
    assert int(broker.ctl("eval", "vm_memory_monitor:get_memory_limit().")) == 600 * 2**20
    assert int(broker.ctl("eval", "rabbit_disk_monitor:get_disk_free_limit().")) == 10**9
