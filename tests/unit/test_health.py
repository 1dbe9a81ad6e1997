"""What a worker says of itself, and what is made of it."""

import msgspec
import pytest

from actors.health import PutBack, Vitals, answer_of_group, broken, judge, of_clock

WELL = Vitals(
    at=1_000.0, stopping=False, threads=8, threads_alive=8, consumers=10, dead=[], missing={},
    database_s=1.0, oldest_s=None, stuck_s=0.0,
)  # fmt: skip


def came_back(for_s: float) -> PutBack:
    return PutBack(
        message_id="m-1", queue="holdfast.orders", actor="place_orders", count=3, first_ms=1_000,
        last_ms=1_000 + round(for_s * 1_000), error="ValueError: a bug",
    )  # fmt: skip


def like(**changes: object) -> Vitals:
    return msgspec.structs.replace(WELL, **changes)


@pytest.mark.parametrize(
    ("changes", "status", "word"),
    [
        ({}, "ok", ""),
        ({"oldest_s": 9_999.0}, "ok", ""),
        ({"missing": {"holdfast.orders": 60.0}}, "degraded", "holdfast.orders"),
        ({"database_s": 16.0}, "degraded", "database"),
        ({"database_s": 16.0, "database_says": "read-only"}, "degraded", "16 s: read-only"),
        ({"troubles": ["this machine's clock is 9 s ahead"]}, "degraded", "9 s ahead"),
        ({"stuck_s": 61.0}, "degraded", "61 s"),
        ({"stuck_s": 300.0}, "degraded", "300 s"),
        ({"stuck_s": 301.0}, "unhealthy", "301 s, though the database"),
        ({"put_back": [came_back(60.0)]}, "ok", ""),
        ({"put_back": [came_back(60.1), came_back(1.0)]}, "degraded", "m-1 of holdfast.orders"),
        ({"put_back": [came_back(99.0)] * 3}, "degraded", "and 2 more"),
        ({"stopping": True}, "degraded", "stopping"),
        ({"threads_alive": 7}, "unhealthy", "1 of 8"),
        ({"dead": ["holdfast.transitions"]}, "unhealthy", "holdfast.transitions"),
        ({"missing": {"holdfast.orders": 60.1}}, "unhealthy", "holdfast.orders"),
        ({"missing": {"holdfast.orders": 61.0}, "database_s": 16.0}, "unhealthy", "RabbitMQ"),
        # Who stops has fewer and fewer of everything, and ends anyway.
        ({"stopping": True, "threads_alive": 0, "dead": ["a"]}, "degraded", "stopping"),
    ],
)
def test_only_what_a_fresh_process_would_mend_is_unhealthy(
    changes: dict[str, object], status: str, word: str
) -> None:
    vitals = like(**changes)

    found = judge(vitals, WELL.at)

    assert found.status == status
    assert found.ready == (status == "ok")
    assert word in "; ".join(found.reasons)
    assert bool(found.reasons) == bool(word)
    # And for nothing else does a worker end.
    assert bool(list(broken(vitals))) == (status == "unhealthy")


def test_who_said_nothing_for_long_is_hung() -> None:
    assert judge(WELL, WELL.at + 10.0).status == "ok"
    assert judge(WELL, WELL.at + 10.1).status == "unhealthy"
    assert judge(like(stopping=True), WELL.at + 10.1).status == "unhealthy"


def test_a_group_is_as_well_as_its_worst_process() -> None:
    group = {1: WELL, 2: like(database_s=99.0), 3: like(threads_alive=0)}

    found = answer_of_group(group, WELL.at)

    assert (found["status"], found["ready"]) == ("unhealthy", False)
    assert found["reasons"] == [
        "process 2: the database took no report for 99 s",
        "process 3: 8 of 8 worker threads died",
    ]
    assert [one["status"] for one in found["processes"]] == ["ok", "degraded", "unhealthy"]  # type: ignore[attr-defined]


def test_a_group_without_a_process_can_do_nothing() -> None:
    assert answer_of_group({}, 0.0)["status"] == "unhealthy"


@pytest.mark.parametrize(
    ("active", "away", "silent_s", "status"),
    [
        (True, [], 30.0, "ok"),
        (False, [], 30.0, "ok"),
        (False, ["the database"], 30.0, "degraded"),
        (True, ["RabbitMQ"], 30.0, "degraded"),
        (True, [], 121.0, "unhealthy"),
    ],
)
def test_a_clock_is_well_while_it_does_something(
    active: bool, away: list[str], silent_s: float, status: str
) -> None:
    assert of_clock(active=active, away=away, silent_s=silent_s).status == status
