"""Who asks by hand is checked before the command is published: a dead letter has no audit entry."""

from datetime import UTC, datetime

import pytest

from actors.commands import Operate, Origin, ResumeQueue
from web.ids import COMMAND, IdMint
from web.intake import Wanted, _encoded
from web.problems import Problem

ID = IdMint(b"x" * 32).new(COMMAND)


def wanted(origin: Origin) -> Wanted:
    return Wanted(Operate, {"action": ResumeQueue("holdfast.orders")}, None, origin=origin)


def test_an_origin_within_the_contract_is_taken() -> None:
    assert b"198.51.100.7" in _encoded(
        wanted(Origin("key_1", "Ada", "198.51.100.7", "a browser")), ID, datetime.now(UTC)
    )


@pytest.mark.parametrize(
    ("origin", "pointer"),
    [
        (Origin("key_1", "Ada", "x" * 101), "/origin/address"),
        (Origin("key_1", "A" * 101), "/origin/name"),
        (Origin("key_1", "Ada", "", "\0"), "/origin/agent"),
    ],
)
def test_one_that_no_actor_could_read_is_refused(origin: Origin, pointer: str) -> None:
    with pytest.raises(Problem) as caught:
        _encoded(wanted(origin), ID, datetime.now(UTC))

    assert caught.value.status == 422
    assert pointer in str(caught.value.document["errors"])
