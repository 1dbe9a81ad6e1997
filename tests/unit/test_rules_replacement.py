"""Properties and examples of writes that replace a whole thing."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from models.rules.replacement import Replacement, supersede

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def put(command_id: str, at_s: int, target: str = "A") -> Replacement:
    return Replacement(command_id, target, NOON + timedelta(seconds=at_s))


replacements = st.lists(
    st.builds(put, st.uuids().map(str), st.integers(0, 5), st.sampled_from("ABC")), max_size=20
)


def latest_after(latest: dict[str, Replacement], turn: list[Replacement]) -> dict[str, Replacement]:
    refusals = supersede(latest, turn)
    applied = [each for each, why in zip(turn, refusals, strict=True) if why is None]
    return latest | {each.target: each for each in applied}


def test_in_order_all_apply() -> None:
    assert supersede({}, [put("1", 1), put("2", 2), put("3", 3, "B")]) == [None, None, None]


def test_one_that_was_accepted_before_the_last_is_superseded_by_it() -> None:
    late, refusal, newer = supersede({"A": put("2", 2)}, [put("3", 3), put("1", 1), put("4", 4)])
    assert late is None
    assert newer is None
    assert refusal is not None
    assert (refusal.slug, refusal.status) == ("superseded", 409)
    assert refusal.document()["superseded_by"] == "3"
    assert "3 was accepted later" in refusal.detail


def test_at_the_same_time_the_order_of_delivery_decides() -> None:
    assert supersede({"A": put("1", 1)}, [put("2", 1), put("3", 1)]) == [None, None]


def test_another_product_is_none_of_its_business() -> None:
    assert supersede({"B": put("2", 2, "B")}, [put("1", 1)]) == [None]


@given(replacements)
def test_what_remains_was_accepted_last(turn: list[Replacement]) -> None:
    remaining = latest_after({}, turn)
    for target in {each.target for each in turn}:
        # The last in turn of those that were accepted at the same time.
        last = max((r.at, n) for n, r in enumerate(turn) if r.target == target)
        assert remaining[target] == turn[last[1]]


@given(replacements, st.integers(0, 20))
def test_to_split_a_batch_changes_nothing(turn: list[Replacement], at: int) -> None:
    whole = supersede({}, turn)
    first, second = turn[:at], turn[at:]
    assert [*supersede({}, first), *supersede(latest_after({}, first), second)] == whole
