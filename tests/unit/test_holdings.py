"""Why a delayed message waits, and what its last error said."""

from typing import Any

import msgspec
import pytest
from dramatiq.message import Message

from actors import holdings

ORDER = "019abc00-0000-8000-8000-000000000001"


class Thread:
    """As much of a consumer's thread as is looked at."""

    def __init__(self, message: Message[Any]) -> None:
        self.queue_name = "holdfast.transitions.DQ"
        self.consumer = type("Consumer", (), {"held": {1: message}})()


def held(actor: str = "move_orders", **options: Any) -> dict[str, Any]:
    """What is shown of a delayed message."""
    command = {"id": ORDER, "order_id": ORDER, "at": "2026-11-23T17:00:00Z"}
    kwargs = {"commands": msgspec.Raw(msgspec.json.encode([command]))}
    message: Message[Any] = Message(
        queue_name="holdfast.transitions.DQ", actor_name=actor, args=(),
        kwargs=kwargs, options={"eta": 1_000, **options},
    )  # fmt: skip
    (shown,) = holdings.Holdings().of([Thread(message)])["holdfast.transitions"]["delayed"]
    assert isinstance(shown, dict)
    return shown


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (held(retries=2, traceback="Traceback"), holdings.FAILED),
        (held(retries=2, traceback="Traceback", passing=True), holdings.PASSING),
        (held(retries=0), holdings.SPLIT),
        (held("operate"), holdings.GOES_ON),
        (held(), holdings.PUT_BACK),
    ],
)
def test_the_reason_is_the_true_one(message: dict[str, Any], reason: str) -> None:
    assert message["reason"] == reason
    assert message["commands"] == 1


def test_the_error_is_its_own_line_and_not_the_context_of_postgresql() -> None:
    traceback = (
        "Traceback (most recent call last):\n"
        '  File "/app/models/database.py", line 1, in execute\n'
        "    cursor.execute(statement)\n"
        "psycopg2.errors.CheckViolation: inner\n\n"
        "The above exception was the direct cause of the following exception:\n\n"
        "Traceback (most recent call last):\n"
        '  File "/app/actors/placing.py", line 2, in _place\n'
        "    orders.insert(rows)\n"
        "peewee.IntegrityError: no price for MUG-01\n"
        "CONTEXT:  PL/pgSQL function cursed_order() line 3 at RAISE\n\n"
    )

    assert held(traceback=traceback)["error"] == "peewee.IntegrityError: no price for MUG-01"


def test_an_error_without_a_traceback_is_said_as_it_is() -> None:
    assert held(traceback="it broke\n")["error"] == "it broke"
    assert held(traceback="")["error"] == ""
