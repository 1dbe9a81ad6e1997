"""What a worker asks of RabbitMQ: one connection a consumer and no more, and rights it names."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from actors import access
from actors.access import RightMissing
from actors.broker import Broker
from actors.commands import QUEUES
from actors.moves import move_orders
from actors.placing import place_orders
from config import ROOT
from tests.conftest import eventually
from tests.integration.workshop import (
    Workshop,
    for_actor,
    order,
    orders_now,
    stocked,
)

USER = "guest-of-a-test"


@contextmanager
def guest(workshop: Workshop, *rights: str) -> Iterator[Broker]:
    """A broker whose user has these rights: configure, write, read."""
    workshop.rabbitmq.ctl("add_user", USER, "a-password")
    try:
        give(workshop, *rights)
        address = workshop.rabbitmq.url.rpartition("@")[2]
        yield workshop.new_broker(rabbitmq_url=f"amqp://{USER}:a-password@{address}")
    finally:
        workshop.stop_workers()
        workshop.rabbitmq.ctl("delete_user", USER)


def give(workshop: Workshop, *rights: str) -> None:
    vhost = workshop.rabbitmq.url.rpartition("/")[2]
    workshop.rabbitmq.ctl("set_permissions", "--vhost", vhost, USER, *rights)


def connections(workshop: Workshop) -> set[str]:
    """Those to the workshop's virtual host: other systems have theirs on the same server."""
    own = workshop.rabbitmq.url.rpartition("/")[2]
    listed = workshop.rabbitmq.ctl(
        "list_connections", "pid", "vhost", "--formatter", "json", "--quiet"
    )
    return {str(each["pid"]) for each in json.loads(listed) if each["vhost"] == own}


def documented_rights() -> list[str]:
    """configure, write, read"""
    text = (ROOT / "docs" / "deploy" / "rabbitmq.md").read_text()
    (line,) = re.findall(r"rabbitmqctl set_permissions .*", text)
    return re.findall(r"'(.*?)'", line)


def documented_connections() -> int:
    """Of a worker process at rest."""
    text = (ROOT / "docs" / "deploy" / "rabbitmq.md").read_text()
    (number,) = re.findall(r"^\| a worker process \| (\d+):", text, re.MULTILINE)
    return int(number)


def consumers(worker: Any) -> list[Any]:
    return [thread.consumer for thread in worker.consumers.values()]


def test_a_worker_at_rest_has_a_connection_for_each_queue_and_its_delayed_messages(
    workshop: Workshop,
) -> None:
    before = connections(workshop)

    worker = workshop.start(*QUEUES)
    eventually(lambda: all(c is not None and c.attached for c in consumers(worker)))

    # At once: one that nobody uses would end by itself, of missed heartbeats.
    opened = eventually(
        lambda: len(seen := connections(workshop) - before) >= 2 * len(QUEUES) and seen
    )
    assert len(opened) == 2 * len(QUEUES) == documented_connections()


@pytest.mark.parametrize(
    ("right", "rights"),
    [
        ("configure", ("^$", ".*", ".*")),
        ("write", (".*", "^$", ".*")),
        ("read", (".*", ".*", "^$")),
        # One queue only: that the other one works is no news of it.
        ("read", (".*", ".*", f"^{re.escape(move_orders.queue_name)}.*$")),
    ],
    ids=["configure", "write", "read", "read one queue"],
)
def test_a_right_that_is_missing_is_named_and_asked_for_ever_less_often(
    workshop: Workshop,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    right: str,
    rights: tuple[str, str, str],
) -> None:
    monkeypatch.setattr(access, "PAUSE_MIN_S", 0.05)
    monkeypatch.setattr(access, "PAUSE_MAX_S", 0.2)
    stocked("A", 5)
    with guest(workshop, *rights) as broker:
        worker = workshop.start(place_orders.queue_name, move_orders.queue_name, broker=broker)

        def refusals() -> list[Any]:
            """The missing right, and the pause in seconds."""
            records = [r for r in caplog.records if r.name == access.__name__]
            each: list[Any] = [r.args for r in records]
            return [(str(m), pause) for queue, m, pause in each if queue == place_orders.queue_name]

        # However many threads are refused, it is said once a pause, and the pauses grow.
        eventually(lambda: len(refusals()) >= 4)
        assert all(right in missing.partition(": ")[0] for missing, _ in refusals())
        assert all("docs/deploy/rabbitmq.md" in missing for missing, _ in refusals())
        assert [pause_s for _, pause_s in refusals()[:4]] == [0.05, 0.1, 0.2, 0.2]

        # Once it has the rights that are documented, it works.
        give(workshop, *documented_rights())
        eventually(lambda: all(c is not None and c.attached for c in consumers(worker)))
        placed = order(("A", 1))
        workshop.broker.enqueue(for_actor(place_orders, placed))
        eventually(lambda: orders_now([placed]) == ["confirmed"])


def test_a_message_that_may_not_be_published_names_the_right(workshop: Workshop) -> None:
    # Given queues that somebody else has made,
    workshop.broker.declare_queue(place_orders.queue_name, ensure=True)
    message = for_actor(place_orders, order(("A", 1)))

    with guest(workshop, ".*", "^holdfast", ".*") as broker:
        with pytest.raises(RightMissing, match="does not let this user write"):
            broker.enqueue(message)

        give(workshop, *documented_rights())
        # then the same broker goes on as soon as it may.
        eventually(lambda: broker.enqueue(message))
