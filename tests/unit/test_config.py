"""Settings: a bad one stops the process with a message that names it."""

from pathlib import Path

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
        ("MESSAGE_KEYS", "no pair"),
        ("MESSAGE_KEYS", "a:short"),
        ("MESSAGE_KEYS", f"a:{'x' * 32},"),
        ("MESSAGE_KEYS", f"a:{'x' * 32},a:{'y' * 32}"),
        ("MESSAGE_KEYS", f"a.b:{'x' * 32}"),
        ("LOCK_TIMEOUT_MS", "15000"),
        ("STATEMENT_TIMEOUT_MS", "20000"),
        ("SHUTDOWN_GRACE_MS", "1800000"),
        ("SHED_ABOVE", "1.1"),
        ("SHED_BELOW", "0"),
        ("SHED_BELOW", "0.8"),
        ("TRUSTED_PROXIES", "the router"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,10.0.0.1/8"),
        ("DATABASE_URL", "mysql://u@h/d"),
        ("DATABASE_URL", "postgresql://u@h/d?target=primary"),
        ("DATABASE_URL", "postgresql://u@a,b/d"),
        ("DATABASE_URL", "postgresql://u@a,b/d?target_session_attrs=any"),
        ("DATABASE_REPLICA_URL", "h"),
        ("DATABASE_REPLICA_URL", "postgresql://u@a/d,b"),
        ("DATABASE_REPLICA_URL", "postgresql://u@a/d,postgresql://u@b/d?sslmod=require"),
        ("REPLICA_LAG_MAX_S", "0"),
        ("REPLICA_LAG_MAX_S", "5.1"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name.lower()):
        parse({**GOOD, name: value})


@pytest.mark.parametrize("variable", ["SECRET_KEY", "MESSAGE_KEYS"])
@pytest.mark.parametrize("form", ["{}", "a:{}", "a.b:{}", "{}:a"])
def test_an_error_does_not_show_the_secret(variable: str, form: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse({**GOOD, variable: form.format("hunter2")})

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("variable", ["DATABASE_URL", "DATABASE_REPLICA_URL"])
def test_an_error_does_not_show_a_part_of_a_databases_password(variable: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse({**GOOD, variable: "postgresql://u:hunter%zz2@h/d"})

    assert "hunter" not in str(caught.value)


def test_settings_are_read_from_variables_of_their_name() -> None:
    given = parse({
        **GOOD, "PORT": "9000", "PUBLISH_DEADLINE_S": "2.5", "ORDERS_RATE_LIMIT": "100/s",
        "LOCK_TIMEOUT_MS": "100",
    })  # fmt: skip

    assert (given.port, given.publish_deadline_s, given.lock_timeout_ms) == (9000, 2.5, 100)
    assert given.orders_rate_limit == "100/s"


def test_messages_have_the_keys_that_are_given_or_one_derived_from_the_secret() -> None:
    (derived,) = parse(GOOD).signing_keys()
    assert derived.id == "0"
    assert derived.secret != GOOD["SECRET_KEY"].encode()
    assert derived != parse({**GOOD, "SECRET_KEY": "y" * 32}).signing_keys()[0]

    given = parse({**GOOD, "MESSAGE_KEYS": f"new:{'n:' * 16}, old:{'o' * 32}"}).signing_keys()

    assert given == (("new", b"n:" * 16), ("old", b"o" * 32))
    # And the derived one can be among them, so as to be rotated away.
    given = parse({**GOOD, "MESSAGE_KEYS": f"new:{'n' * 32},0"}).signing_keys()
    assert given == (("new", b"n" * 32), derived)


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


def test_a_database_may_be_whichever_of_several_hosts_writes() -> None:
    for wanted in ("read-write", "primary"):
        url = f"u:p@a:1,b:2/d?target_session_attrs={wanted}"

        assert parse({**GOOD, "DATABASE_URL": f"postgres://{url}"}).database_url == (
            f"postgresql://{url}"
        )


def test_read_replicas_are_split_by_commas_and_hosts_of_one_are_not() -> None:
    assert parse(GOOD).replica_urls() == ()

    given = parse({
        **GOOD, "DATABASE_REPLICA_URL": "postgres://u@a/d, postgres://u@b,c/d,postgresql://u@e/d"
    })  # fmt: skip

    assert given.replica_urls() == (
        "postgresql://u@a/d", "postgresql://u@b,c/d", "postgresql://u@e/d"
    )  # fmt: skip


def test_variables_of_others_are_left_alone() -> None:
    assert parse({**GOOD, "PATH": "/bin", "HOSTNAME": "x", "database_url": "no"}) == parse(GOOD)


def test_what_is_given_is_not_changed() -> None:
    given = {"DATABASE_URL": "postgres://h/d", "CLOUDAMQP_URL": "amqp://c", "SECRET_KEY": "x" * 32}
    before = dict(given)

    parse(given)

    assert given == before


def test_timeouts_nest_as_they_have_to() -> None:
    given = parse(GOOD)

    # What else does not nest is refused: see above.
    assert given.lock_timeout_ms < given.statement_timeout_ms < given.shutdown_grace_ms
    assert given.connect_timeout_s * 1000 < given.statement_timeout_ms


def test_a_setting_may_lie_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{'y' * 32}\n")
    empty = tmp_path / "empty"
    empty.write_text("\n")
    without = {name: value for name, value in GOOD.items() if name != "SECRET_KEY"}

    given = parse({**without, "SECRET_KEY_FILE": str(secret), "API_KEY_FILE": str(empty)})

    assert given.secret_key == "y" * 32
    assert given.api_key is None


def test_a_file_that_is_not_there_or_one_too_many_is_named(tmp_path: Path) -> None:
    there = tmp_path / "url"
    there.write_text("postgresql://u@h/d")

    with pytest.raises(SettingsError, match=r"API_KEY_FILE can't be read: .*nowhere"):
        parse({**GOOD, "API_KEY_FILE": str(tmp_path / "nowhere")})
    with pytest.raises(SettingsError, match="DATABASE_URL and DATABASE_URL_FILE"):
        parse({**GOOD, "DATABASE_URL_FILE": str(there)})
