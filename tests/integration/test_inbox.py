"""The inbox: an id takes effect once, however it comes; and text goes through unharmed."""

from datetime import UTC, datetime, timedelta
from threading import Event, Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.dead_letters import FAILURE
from models import database as db
from models.queries import dead_letters, inbox
from models.queries.inbox import Received
from models.rules.refusals import Refusal, refuse
from tests.conftest import eventually
from tests.integration.workshop import new_id, now, rows

KIND = "adjust_stock"


def received(id_: str | None = None, at: datetime | None = None) -> Received:
    return Received(id_ or new_id(), "A", at or now())


def claim(*commands: Received) -> set[str]:
    with db.transaction():
        return set(inbox.claim(KIND, commands))


def test_the_same_batch_is_claimed_once(database: None) -> None:
    batch = [received() for _ in range(50)]

    assert claim(*batch) == {command.id for command in batch}
    assert claim(*batch) == set()


def test_a_batch_with_old_and_new_commands_gets_the_new_ones(database: None) -> None:
    old, new = received(), received()
    claim(old)

    assert claim(new, old) == {new.id}


def test_duplicates_within_a_batch_are_claimed_once(database: None) -> None:
    command = received()

    assert claim(command, command, command) == {command.id}
    assert rows("SELECT count(*) FROM commands") == [(1,)]


def test_an_id_is_claimed_once_whatever_kind_of_command_has_it(database: None) -> None:
    command = received()
    claim(command)

    with db.transaction():
        assert inbox.claim("move_order", [command]) == {}


def test_a_claim_that_is_rolled_back_can_be_made_again(database: None) -> None:
    command = received()
    with pytest.raises(ZeroDivisionError), db.transaction():
        inbox.claim(KIND, [command])
        raise ZeroDivisionError

    assert claim(command) == {command.id}


#: What Python takes for a time and PostgreSQL does not, or not with this offset.
ODD_TIMES = [
    "2026-01-01T00:00:00", "2026-01-01T00:00:00+16:00", "2026-01-01T00:00:00-23:59",
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
]  # fmt: skip


@pytest.mark.parametrize("at", ODD_TIMES)
def test_a_command_is_claimed_or_failed_whatever_its_time(database: None, at: str) -> None:
    taken, failed = [received(at=datetime.fromisoformat(at)) for _ in range(2)]

    assert claim(taken) == {taken.id}
    with db.transaction():
        assert set(dead_letters.fail_commands(KIND, [failed], FAILURE)) == {failed.id}

    assert rows("SELECT count(*) FROM commands WHERE placed_at > now() - interval '1 m'") == [(2,)]


@pytest.mark.parametrize("first_commits", [True, False])
def test_of_two_transactions_that_claim_at_once_the_second_waits_for_the_first(
    database: None, first_commits: bool
) -> None:
    batch = [received() for _ in range(20)]
    second_got: list[set[str]] = []
    claimed, may_end = Event(), Event()

    def first() -> None:
        try:
            with db.transaction():
                inbox.claim(KIND, batch)
                claimed.set()
                assert may_end.wait(60)
                if not first_commits:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        finally:
            db.discard_connection()

    def second() -> None:
        assert claimed.wait(60)
        second_got.append(claim(*reversed(batch)))
        db.discard_connection()

    threads = [Thread(target=first), Thread(target=second)]
    for thread in threads:
        thread.start()
    eventually(
        lambda: rows("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"),
        what="the second waits",
    )
    assert second_got == []
    may_end.set()
    for thread in threads:
        thread.join(60)

    assert second_got == [set() if first_commits else {command.id for command in batch}]


def test_a_command_that_was_put_back_is_claimed_again_as_of_when_it_first_came(
    database: None,
) -> None:
    first_at = now() - timedelta(days=3)
    command = received(at=first_at)
    claim(command)
    db.execute("UPDATE commands SET status = 'pending', problem = '{}'")

    with db.transaction():
        claims = inbox.claim(KIND, [command._replace(at=first_at + timedelta(days=1))])

    assert claims == {command.id: inbox.Claim(first_at, again=True)}
    assert rows("SELECT status, problem FROM commands") == [("applied", None)]
    assert claim(command) == set()


@pytest.mark.parametrize("off", [timedelta(days=-400), timedelta(days=-21), timedelta(days=40)])
def test_a_clock_that_is_far_off_counts_as_now(database: None, off: timedelta) -> None:
    before = now()
    command = received(at=before + off)

    with db.transaction():
        claims = inbox.claim(KIND, [command])

    assert before <= claims[command.id].at <= now()
    assert rows("SELECT placed_at FROM commands") == [(claims[command.id].at,)]


def test_a_message_that_waited_for_days_keeps_its_time(database: None) -> None:
    command = received(at=now() - timedelta(days=19))

    with db.transaction():
        assert inbox.claim(KIND, [command]) == {command.id: inbox.Claim(command.at, again=False)}


def test_a_refusal_is_recorded_with_its_reason_and_the_others_stay_applied(
    database: None,
) -> None:
    refused, applied = received(), received()
    claim(refused, applied)
    why = refuse(
        "insufficient-stock", 'Not enough "stock"\\ of \u00e4\U0001f389', lines=[{"sku": "A"}]
    )

    inbox.record_refusals([(refused.id, why)])

    found = {id_: (status, problem) for id_, status, problem in rows(
        "SELECT id::text, status, problem FROM commands"
    )}  # fmt: skip
    assert found == {refused.id: ("rejected", why.document()), applied.id: ("applied", None)}


def test_no_refusals_are_no_statement(database: None) -> None:
    inbox.record_refusals([])


# --- text on its way to PostgreSQL ---

storable = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(st.lists(st.none() | storable, max_size=30))
@settings(deadline=None, max_examples=200)
def test_any_text_comes_back_from_postgresql_as_it_went(
    migrated: None, values: list[str | None]
) -> None:
    assert rows("SELECT %s::text[]", db.text_array(values)) == [(values,)]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "NULL",
        "null",
        "{}",
        "{a,b}",
        ",",
        '"',
        '\\"',
        "\\",
        "\\\\",
        " a ",
        "\n\t",
        "%s",
        "'; --",
    ],
)
def test_text_that_looks_like_syntax_comes_back_as_it_went(connected: None, value: str) -> None:
    assert rows("SELECT %s::text[]", db.text_array([value, None, value])) == [
        ([value, None, value],)
    ]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=30))
@settings(deadline=None, max_examples=50)
def test_any_number_comes_back_as_it_went(migrated: None, values: list[int]) -> None:
    assert rows("SELECT %s::bigint[]", db.array([str(value) for value in values])) == [(values,)]


instants_of_any_zone = st.datetimes(
    min_value=datetime(1900, 1, 1),  # noqa: DTZ001 - Hypothesis puts a zone to it
    timezones=st.timezones(),
).map(lambda moment: moment.astimezone(UTC))


@given(st.lists(st.uuids().map(str), max_size=10), st.lists(instants_of_any_zone, max_size=10))
@settings(deadline=None, max_examples=50)
def test_ids_and_times_come_back_as_they_went(
    migrated: None, ids: list[str], instants: list[datetime]
) -> None:
    assert rows(
        "SELECT %s::uuid[]::text[], %s::timestamptz[]",
        db.array(ids),
        db.array([moment.isoformat() for moment in instants]),
    ) == [(ids, instants)]


@given(
    st.dictionaries(storable, storable, max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | storable,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(storable, inner, max_size=3),
        max_leaves=6,
    ),
)
@settings(deadline=None, max_examples=100)
def test_any_document_comes_back_from_jsonb_as_it_went(
    migrated: None, metadata: dict[str, str], extra: object
) -> None:
    document = Refusal("slug", "Title", 409, "detail", {"extra": extra, **metadata}).document()

    found = rows(
        "SELECT problem::jsonb FROM unnest(%s::text[]) AS given (problem)",
        db.text_array([inbox.json_text(document)]),
    )

    assert found == [(document,)]
