"""The life of an order: only the drawn moves happen, and each change counts the version up."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.rules.order_status import (
    MOVES,
    Move,
    Moved,
    NotMoved,
    OrderState,
    decide_moves,
    timelines,
)

#: The drawing, spelled out: whoever changes the table has to change it here too.
DRAWN = {
    ("confirmed", "shipped"),
    ("confirmed", "cancelled"),
    ("shipped", "delivered"),
    ("shipped", "returned"),
    ("delivered", "returned"),
}
DECIDED = ("confirmed", "rejected", "failed", "shipped", "delivered", "cancelled", "returned")
ASKED_FOR = ("shipped", "delivered", "cancelled", "returned")

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)


def at(second: int) -> datetime:
    return NOON + timedelta(seconds=second)


moves = st.lists(
    st.builds(
        Move,
        st.uuids().map(str),
        st.sampled_from(["o-1", "o-2"]),
        st.sampled_from(ASKED_FOR),
        st.integers(0, 3).map(at),
        st.none() | st.integers(1, 5),
        st.booleans(),
    ),
    max_size=12,
)
states = st.fixed_dictionaries(
    {
        id_: st.builds(
            OrderState, st.sampled_from(DECIDED), st.integers(1, 3), st.none(), st.none()
        )
        | st.builds(
            OrderState,
            st.sampled_from(DECIDED),
            st.integers(2, 3),
            st.integers(0, 3).map(at),
            st.just("before"),
        )
        for id_ in ("o-1", "o-2")
    }
)


@pytest.mark.parametrize("status", DECIDED)
@pytest.mark.parametrize("to", ASKED_FOR)
def test_only_drawn_moves_happen(status: str, to: str) -> None:
    (decision,) = decide_moves({"o": OrderState(status, 1)}, [Move("m", "o", to, NOON)])

    assert isinstance(decision, Moved) == ((status, to) in DRAWN)
    if isinstance(decision, NotMoved):
        assert decision.refusal.slug == "illegal-transition"
        assert decision.refusal.extra == {"status_now": status}


@pytest.mark.parametrize("status", ["cancelled", "rejected", "returned", "failed"])
def test_a_terminal_status_has_no_moves(status: str) -> None:
    assert MOVES[status] == frozenset()


@pytest.mark.parametrize(
    ("before", "to", "restock", "effect"),
    [
        ("confirmed", "shipped", True, (-1, -1)),
        ("confirmed", "cancelled", True, (0, -1)),
        ("shipped", "delivered", True, (0, 0)),
        ("delivered", "returned", True, (1, 0)),
        ("delivered", "returned", False, (0, 0)),
    ],
)
def test_what_a_move_does_to_stock(
    before: str, to: str, restock: bool, effect: tuple[int, int]
) -> None:
    (moved,) = decide_moves({"o": OrderState(before, 4)}, [Move("m", "o", to, NOON, None, restock)])

    assert isinstance(moved, Moved)
    assert moved.effect == effect


def test_a_move_for_another_version_is_refused_even_where_it_would_be_legal() -> None:
    fits, stale = decide_moves(
        {"o": OrderState("confirmed", 1)},
        [
            Move("1", "o", "shipped", NOON, if_version=1),
            Move("2", "o", "delivered", NOON, if_version=1),
        ],
    )

    assert isinstance(fits, Moved)
    assert isinstance(stale, NotMoved)
    assert stale.refusal.slug == "precondition-failed"
    assert stale.refusal.status == 412


def test_a_move_for_one_of_several_versions_is_made_at_any_of_them() -> None:
    first, second, stale = decide_moves(
        {"o": OrderState("confirmed", 1)},
        [
            Move("1", "o", "shipped", NOON, if_version=(1, 2)),
            Move("2", "o", "delivered", NOON, if_version=(1, 2)),
            Move("3", "o", "returned", NOON, if_version=(1, 2)),
        ],
    )

    assert isinstance(first, Moved)
    assert isinstance(second, Moved)
    assert isinstance(stale, NotMoved)
    assert stale.refusal.detail == (
        "The order is at version 3, and If-Match names 1, 2. Read it again."
    )


def test_a_move_that_was_accepted_before_the_one_that_its_order_took_is_superseded() -> None:
    shipped, late, delivered = decide_moves(
        {"o": OrderState("confirmed", 1)},
        [
            Move("1", "o", "shipped", at(1)),
            Move("2", "o", "returned", at(0)),
            Move("3", "o", "delivered", at(1)),
        ],
    )

    assert isinstance(shipped, Moved)
    assert isinstance(late, NotMoved)
    assert late.refusal.slug == "superseded"
    assert late.refusal.extra == {"superseded_by": "1"}
    # Of two that were accepted at the same time the order of their coming is as good as any.
    assert isinstance(delivered, Moved)


def test_a_move_that_names_the_version_of_its_order_comes_after_it_whatever_two_clocks_say() -> (
    None
):
    (moved,) = decide_moves(
        {"o": OrderState("shipped", 2, at(1), "1")}, [Move("2", "o", "delivered", at(0), 2)]
    )

    assert isinstance(moved, Moved)


def test_of_two_cancellations_only_one_releases_stock() -> None:
    decisions = decide_moves(
        {"o": OrderState("confirmed", 1)}, [Move(str(n), "o", "cancelled", NOON) for n in range(12)]
    )

    assert [isinstance(d, Moved) for d in decisions] == [True] + [False] * 11


def state_after(decision: Moved) -> OrderState:
    move = decision.move
    return OrderState(move.to, decision.version, move.accepted_at, move.command_id)


@given(states, moves)
def test_each_change_follows_the_drawing_and_counts_the_version_up_by_one(
    before: dict[str, OrderState], asked: list[Move]
) -> None:
    now = dict(before)
    for move, decision in zip(asked, decide_moves(before, asked), strict=True):
        assert decision.move == move
        state = now[move.order_id]
        legal = (state.status, move.to) in DRAWN and move.if_version in (None, state.version)
        late = move.if_version is None and move.accepted_at < (state.move_accepted_at or NOON)
        assert isinstance(decision, Moved) == (legal and not late)
        if isinstance(decision, Moved):
            assert decision.version == state.version + 1
            now[move.order_id] = state_after(decision)
        elif late:
            assert decision.refusal.slug == "superseded"
            assert decision.refusal.extra == {"superseded_by": state.moved_by}


@given(states, moves, st.data())
def test_splitting_a_batch_of_moves_in_order_changes_nothing(
    before: dict[str, OrderState], asked: list[Move], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(asked)))
    head = decide_moves(before, asked[:cut])
    between = dict(before)
    for decision in head:
        if isinstance(decision, Moved):
            between[decision.move.order_id] = state_after(decision)

    assert head + decide_moves(between, asked[cut:]) == decide_moves(before, asked)


def test_a_timeline_is_one_decision_and_drawn_moves_from_there() -> None:
    decided = {
        ("rejected",),
        ("confirmed",),
        ("confirmed", "cancelled"),
        ("confirmed", "shipped"),
        ("confirmed", "shipped", "returned"),
        ("confirmed", "shipped", "delivered"),
        ("confirmed", "shipped", "delivered", "returned"),
    }

    # A failed order that was put back is decided anew.
    assert set(timelines()) == decided | {("failed",)} | {("failed", *way) for way in decided}
