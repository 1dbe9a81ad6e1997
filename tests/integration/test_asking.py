"""Changes asked for from a terminal, where the answer is long in coming."""

import argparse
import json
from collections.abc import Iterator

import msgspec
import pytest

from actors.commands import PauseQueue
from actors.operations import operate
from actors.placing import place_orders
from actors.terminal import asking
from config import settings
from deploy.local import ports
from models import database as db
from tests.integration.workshop import Workshop, new_id

COMMAND_ID = new_id()


@pytest.fixture
def unreachable(workshop: Workshop) -> Iterator[None]:
    """No database is where it should be."""
    (nobody,) = ports.free_ports(1)
    db.discard_connection()
    url = f"postgresql://nobody@127.0.0.1:{nobody}/nothing"
    db.configure(msgspec.structs.replace(settings(), database_url=url))
    yield
    db.configure(settings(), application_name="tests")


def test_a_change_is_on_its_way_where_its_outcome_can_not_be_seen(
    workshop: Workshop,
    unreachable: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("actors.broker.broker", workshop.broker)
    options = argparse.Namespace(json=True, wait=0.5, new_id=lambda: COMMAND_ID)

    code = asking.ask(PauseQueue(place_orders.queue_name, "a test"), options)

    assert code == asking.NOT_DECIDED
    said = json.loads(capsys.readouterr().out)
    assert (said["command_id"], said["status"]) == (COMMAND_ID, "pending")
    assert workshop.messages_in(operate.queue_name) == 1
