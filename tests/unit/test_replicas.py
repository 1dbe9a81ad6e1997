"""How far a replica is behind: by what the primary had, and when; no clock of theirs is asked."""

from hypothesis import given
from hypothesis import strategies as st

from web.replicas import AHEAD_MAX, Lag


def test_a_replica_is_as_old_as_the_latest_position_that_it_is_known_to_have() -> None:
    lag = Lag(100.0)
    lag.primary(101.0, 10)
    lag.primary(102.0, 20)
    lag.primary(103.0, 30)

    lag.replica(25)

    assert lag.seconds(104.0) == 2.0


def test_nothing_is_known_of_a_replica_but_how_long_it_is_known() -> None:
    lag = Lag(100.0)
    lag.primary(101.0, 10)
    lag.replica(9)

    assert lag.seconds(107.0) == 7.0


def test_one_that_has_everything_is_not_late_however_long_nothing_was_written() -> None:
    lag = Lag(100.0)
    for at in (101.0, 102.0, 103.0):
        lag.primary(at, 10)
        lag.replica(10)

    assert lag.seconds(103.0) == 0.0


def test_one_whose_primary_is_away_grows_old() -> None:
    lag = Lag(100.0)
    lag.primary(101.0, 10)

    lag.replica(10)
    lag.replica(10)

    assert lag.seconds(131.0) == 30.0


def test_one_that_was_stuck_for_very_long_is_well_again_at_the_first_position_it_has() -> None:
    lag = Lag(0.0)
    for at in range(3 * AHEAD_MAX):
        lag.primary(float(at), at)
    last = 3 * AHEAD_MAX

    # What was asked while it was stuck is not all remembered: it is rather thought too old.
    lag.replica(last)
    assert lag.seconds(float(last)) > 0
    lag.primary(float(last), last)
    lag.replica(last)

    assert lag.seconds(float(last)) == 0.0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=60))
def test_it_is_never_thought_younger_than_it_is(steps: list[tuple[int, int]]) -> None:
    # A step: the primary writes so much, the replica applies so much of what there is.
    lag, written, applied = Lag(0.0), 0, 0
    history = [(0.0, 0)]
    for second, (more, some) in enumerate(steps, 1):
        now = float(second)
        written += more
        history.append((now, written))
        lag.primary(now, written)
        applied = min(written, applied + some)
        lag.replica(applied)
        # The first moment at which the primary had what the replica lacks.
        lacking = [at for at, position in history if position > applied]
        truly_s = now - lacking[0] if lacking else 0.0

        assert lag.seconds(now) >= truly_s
