"""Settings: a bad one stops the process with a message that names it."""

import pytest

from config import SettingsError, parse

GOOD = {
    "DATABASE_URL": "postgresql://u@h/d",
    "RABBITMQ_URL": "amqp://h",
    "SECRET_KEY": "x" * 32,
}


def test_what_has_to_be_there_is_enough() -> None:
    given = parse(GOOD)

    assert (given.database_url, given.rabbitmq_url) == ("postgresql://u@h/d", "amqp://h")
    assert given.port == 8000
    assert given.orders_rate_limit is None


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("empty", [True, False])
def test_what_is_missing_or_empty_is_named(name: str, empty: bool) -> None:
    variables = {**GOOD, name: ""} if empty else {k: v for k, v in GOOD.items() if k != name}

    with pytest.raises(SettingsError, match=name.lower()):
        parse(variables)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", "short"),
        ("PORT", "eighty"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "80.5"),
        ("WEB_CONCURRENCY", "0"),
        ("WEB_CONCURRENCY", "-1"),
        ("PUBLISH_DEADLINE_S", "0"),
        ("PUBLISH_DEADLINE_S", "soon"),
        ("QUEUE_LENGTH_MAX", "many"),
        ("LOCK_TIMEOUT_MS", "0"),
        ("PARTITIONS_AHEAD", "0"),
        ("STATEMENT_TIMEOUT_MS", "15s"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name.lower()):
        parse({**GOOD, name: value})


def test_an_error_does_not_show_the_secret() -> None:
    with pytest.raises(SettingsError) as caught:
        parse({**GOOD, "SECRET_KEY": "hunter2"})

    assert "hunter2" not in str(caught.value)


def test_settings_are_read_from_variables_of_their_name() -> None:
    given = parse({
        **GOOD, "PORT": "9000", "PUBLISH_DEADLINE_S": "2.5", "ORDERS_RATE_LIMIT": "100/s",
        "LOCK_TIMEOUT_MS": "100",
    })  # fmt: skip

    assert (given.port, given.publish_deadline_s, given.lock_timeout_ms) == (9000, 2.5, 100)
    assert given.orders_rate_limit == "100/s"


def test_an_empty_variable_is_none_at_all() -> None:
    assert parse({**GOOD, "PORT": "", "API_KEY": ""}).port == 8000


def test_cloudamqp_is_taken_where_rabbitmq_has_no_url_of_its_own() -> None:
    only = {k: v for k, v in GOOD.items() if k != "RABBITMQ_URL"}

    assert parse({**only, "CLOUDAMQP_URL": "amqp://cloud"}).rabbitmq_url == "amqp://cloud"
    assert parse({**GOOD, "CLOUDAMQP_URL": "amqp://cloud"}).rabbitmq_url == "amqp://h"
    assert (
        parse({**GOOD, "RABBITMQ_URL": "", "CLOUDAMQP_URL": "amqp://c"}).rabbitmq_url == "amqp://c"
    )


def test_the_old_name_of_the_scheme_becomes_the_new_one() -> None:
    assert (
        parse({**GOOD, "DATABASE_URL": "postgres://u:p@h/d"}).database_url == "postgresql://u:p@h/d"
    )


def test_variables_of_others_are_left_alone() -> None:
    assert parse({**GOOD, "PATH": "/bin", "HOSTNAME": "x", "database_url": "no"}) == parse(GOOD)


def test_what_is_given_is_not_changed() -> None:
    given = {"DATABASE_URL": "postgres://h/d", "CLOUDAMQP_URL": "amqp://c", "SECRET_KEY": "x" * 32}
    before = dict(given)

    parse(given)

    assert given == before


def test_timeouts_nest_as_they_have_to() -> None:
    given = parse(GOOD)

    assert given.lock_timeout_ms < given.statement_timeout_ms < 30 * 60_000
    assert given.connect_timeout_s * 1000 < given.statement_timeout_ms
