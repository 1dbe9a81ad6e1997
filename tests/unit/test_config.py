"""Settings: a bad one stops the process with a message that names it."""

from pathlib import Path

import pytest

from config import FIELDS, SettingsError, networks, parse, read_variables

GOOD = {
    "DATABASE_URL": "postgresql://u@h/d",
    "RABBITMQ_URL": "amqp://h",
    "SECRET_KEY": "x" * 32,
}


def test_an_ipv4_network_written_as_ipv6_is_one_of_ipv4() -> None:
    text = "::ffff:10.0.0.0/104, ::ffff:192.0.2.1,fd00::/8,::/0"

    assert [str(each) for each in networks(text)] == [
        "10.0.0.0/8", "192.0.2.1/32", "fd00::/8", "::/0"
    ]  # fmt: skip


def test_what_has_to_be_there_is_enough() -> None:
    given = parse(GOOD)

    assert (given.database_url, given.rabbitmq_url) == ("postgresql://u@h/d", "amqp://h")
    assert given.port == 8000
    assert given.orders_rate_limit is None


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("empty", [True, False])
def test_what_is_missing_or_empty_is_named(name: str, empty: bool) -> None:
    variables = {**GOOD, name: ""} if empty else {k: v for k, v in GOOD.items() if k != name}

    with pytest.raises(SettingsError, match=name):
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
    with pytest.raises(SettingsError, match=name):
        parse({**GOOD, name: value})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WEB_METRICS_PORT", "tcp://10.0.0.1:9464",
         "WEB_METRICS_PORT is 'tcp://10.0.0.1:9464'; it must be a whole number from 0 to 65535."),
        ("WEB_CONCURRENCY", "-1", "is '-1'; it must be a whole number of 1 or more."),
        ("PUBLISH_DEADLINE_S", "inf", "is 'inf'; it must be a number above 0."),
        ("SHED_ABOVE", "2", "is '2'; it must be a number above 0 and up to 1."),
        ("RECONCILE_EVERY_S", "-1", "is '-1'; it must be a number of 0 or more."),
        ("TRACING", "maybe", "is 'maybe'; it must be true or false."),
        ("LOG_FORMAT", "xml", "is 'xml'; it must be auto, console or json."),
        ("ENVIRONMENT", "x" * 33, f"is '{'x' * 33}'; it must be 1 to 32 characters."),
        ("RETENTION_MONTHS", "0", "is '0'; it must be a whole number of 1 or more."),
        ("SECRET_KEY", "short", "SECRET_KEY must be 32 characters or more."),
        ("TRUSTED_PROXIES", "the router", "is 'the router'; it must be networks separated by"),
        ("LOCK_TIMEOUT_MS", "15000",
         "is '15000'; it must be less than STATEMENT_TIMEOUT_MS, 15000."),
        ("SIGN_IN_RATE_LIMIT", "many", "is 'many'; it must be written like 10/minute"),
        ("ORDERS_RATE_LIMIT", "1/d", "is '1/d'; it must be written like 100/s"),
        ("HOST", "127.0.0.1:80", "is '127.0.0.1:80'; it must be an IPv4 or IPv6 address"),
        ("HOST", "[127.0.0.1]", "it must be an IPv4 or IPv6 address"),
        ("METRICS_HOST", "::1]", "METRICS_HOST is '::1]'; it must be"),
        ("PORT", "8" * 100, f"is '{'8' * 80}…'; it must be"),
    ],
)  # fmt: skip
def test_an_error_says_the_value_and_what_is_allowed(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse({**GOOD, name: value})

    assert name in str(caught.value)
    assert words in str(caught.value)


def test_an_error_says_which_variable_had_the_value(tmp_path: Path) -> None:
    short = tmp_path / "key"
    short.write_text("short")
    without = {"DATABASE_URL": "postgresql://h/d"}

    with pytest.raises(SettingsError) as caught:
        parse({**without, "SECRET_KEY_FILE": str(short), "RABBITMQ_URL": "amqp://h", "PORT": "x"})
    assert "SECRET_KEY comes from SECRET_KEY_FILE." in str(caught.value)
    assert "comes from PORT" not in str(caught.value)
    with pytest.raises(SettingsError, match=r"RABBITMQ_URL comes from CLOUDAMQP_URL\."):
        parse({**without, "SECRET_KEY": "x" * 32, "CLOUDAMQP_URL": "amqp://u:p@p@h"})


def test_all_that_is_missing_or_senseless_is_said_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        parse({"RABBITMQ_URL": "amqp://h", "PORT": "x", "TRACING": "y"})

    said = str(caught.value)
    assert "DATABASE_URL is missing. SECRET_KEY is missing. PORT is 'x'" in said
    assert "TRACING is 'y'" in said


@pytest.mark.parametrize("space", ["\n", " ", "\t", "\r\n"])
def test_space_around_a_value_does_not_count_wherever_it_comes_from(
    space: str, tmp_path: Path
) -> None:
    bare = parse({**GOOD, "PORT": "9000"})
    around = {name: f"{space}{value}{space}" for name, value in {**GOOD, "PORT": "9000"}.items()}
    names = {}
    for name, value in around.items():
        path = tmp_path / name
        path.write_text(value, newline="")
        names[f"{name}_FILE"] = f"{path}{space}"

    assert parse(around) == bare
    assert parse(read_variables(around, tmp_path / "nothing")) == bare
    assert parse(names) == bare


@pytest.mark.parametrize("inside", ["\n", "\ufeff", "\0", "\u200b", "\udcff"])
def test_what_can_not_be_seen_inside_a_value_is_named(inside: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text(f"hun{inside}der", errors="surrogatepass")

    for name in FIELDS:
        without = {each: value for each, value in GOOD.items() if each != name}
        for variables in ({name: f"hun{inside}der"}, {f"{name}_FILE": str(file)}):
            with pytest.raises(SettingsError, match=f"^{name}") as caught:
                parse({**without, **variables})

            assert "hun" not in str(caught.value)


def test_the_environment_counts_before_the_file_and_what_is_empty_does_not(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("PORT=1\nHOST=h\nOTEL_X=' of others '\nAPI_KEY=' '\n")

    read = read_variables({"PORT": "2", "HOST": " ", "PS1": "$ "}, file)

    assert read == {"PORT": "2", "HOST": "h", "OTEL_X": " of others ", "PS1": "$ "}


URLS = {
    "DATABASE_URL": "postgresql://shop:{}@db.example/holdfast",
    "DATABASE_REPLICA_URL": "postgresql://u@a/d,postgresql://shop:{}@db.example/holdfast",
    "RABBITMQ_URL": "amqp://u@a;amqps://shop:{}@mq.example:5671/holdfast",
    "RATE_LIMIT_STORAGE_URL": "async+redis://:{}@cache:6379/0",
}


@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize("mark", [*"@/#?%", "%zz", " "])
@pytest.mark.parametrize("form", ["hunter{}tail", "{}tail", "12{}tail", "hunter{}"])
def test_a_password_that_is_not_percent_encoded_is_refused_and_not_shown(
    name: str, mark: str, form: str
) -> None:
    password = form.format(mark)

    with pytest.raises(SettingsError) as caught:
        parse({**GOOD, name: URLS[name].format(password)})

    said = str(caught.value)
    assert name in said
    assert "@ as %40" in said
    assert not any(part in said for part in ("hunter", "tail", "shop", "example"))


@pytest.mark.parametrize("name", URLS)
def test_a_password_that_is_percent_encoded_is_taken(name: str) -> None:
    # `;` is between the nodes of RABBITMQ_URL.
    password = "a%40b%2Fc%3Ad:e%23f%3Fg%25~!$&'()*+,=-._"
    password += "%3B" if name == "RABBITMQ_URL" else ";"

    parse({**GOOD, name: URLS[name].format(password)})


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DATABASE_URL", "postgresql:///holdfast?host=/var/run/postgresql"),
        ("DATABASE_URL", "postgresql://%2Fvar%2Frun%2Fpostgresql/holdfast"),
        ("DATABASE_URL", "postgresql://u:p@[2001:db8::1]:5432/d?sslmode=verify-full"),
        ("DATABASE_URL", "postgresql://u:p@a:1,b:2/d?target_session_attrs=read-write"),
        ("DATABASE_URL", "postgresql://u:p@h/d?ssl=true"),
        ("DATABASE_URL", "postgresql://u:p@h/d?sslmode=require&connect_timeout=5&keepalives=1"),
        ("DATABASE_URL", "postgresql://u:p@h/d?application_name=shop&options=-c%20jit%3Doff"),
        ("RABBITMQ_URL", "amqps://h/%2F?ssl_options={'cafile': '/etc/ssl/ca.pem'}"),
        ("RABBITMQ_URL", "amqp://u:p@[::1]:5672"),
        ("RATE_LIMIT_STORAGE_URL", "async+redis+sentinel://a:1,b:2/primary"),
        ("RATE_LIMIT_STORAGE_URL", "async+redis+unix:///run/redis.sock?db=1"),
    ],
)
def test_urls_in_all_their_forms_are_taken(name: str, url: str) -> None:
    assert getattr(parse({**GOOD, name: url}), FIELDS[name]) == url


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("RABBITMQ_URL", "http://h"),
        ("RABBITMQ_URL", "h:5672"),
        ("RABBITMQ_URL", "amqp://h:70000"),
        ("DATABASE_URL", "postgresql://h:0/d"),
        ("RATE_LIMIT_STORAGE_URL", "redis://h/0"),
        ("RATE_LIMIT_STORAGE_URL", "async+mongodb://h/0"),
    ],
)
def test_a_url_of_another_kind_is_refused(name: str, url: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}: it must be"):
        parse({**GOOD, name: url})


@pytest.mark.parametrize("variable", ["DATABASE_URL", "DATABASE_REPLICA_URL"])
@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("foo=bar", "libpq has no parameter foo"),
        ("sslmode=require&sslmod=require", "libpq has no parameter sslmod"),
        ("connect_timeout=abc", "its connect_timeout must be a whole number"),
        ("connect_timeout=99999999999", "its connect_timeout must be a whole number"),
        ("keepalives_idle=-1", "its keepalives_idle must be a whole number"),
        ("sslmode=foo", "its sslmode must be one of disable, allow"),
        ("channel_binding=", "its channel_binding must be one of"),
    ],
)
def test_a_parameter_that_libpq_does_not_take_is_named(
    variable: str, query: str, reason: str
) -> None:
    with pytest.raises(SettingsError, match=f"{variable}: {reason}") as caught:
        parse({**GOOD, variable: f"postgresql://u:secret@h/d?{query}"})

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["sslrootcert", "sslcert", "sslkey", "sslcrl"])
def test_a_file_of_an_address_that_can_not_be_read_is_named(name: str, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    url = f"postgresql://u@h/d?sslmode=verify-full&{name}={file}"

    for variable in ("DATABASE_URL", "DATABASE_REPLICA_URL"):
        with pytest.raises(SettingsError, match=f"{variable}: the file that its {name} names"):
            parse({**GOOD, variable: url})
    file.touch()

    assert parse({**GOOD, "DATABASE_URL": url}).database_url == url


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("::", "::"), ("[::]", "::"), ("0:0::0", "::"), ("[::1]", "::1"), ("0.0.0.0", "0.0.0.0"),
        ("localhost", "localhost"), ("web-1.shop_1.example.", "web-1.shop_1.example."),
    ],
)  # fmt: skip
def test_a_host_has_one_form_however_it_is_written(text: str, host: str) -> None:
    given = parse({**GOOD, "HOST": text, "METRICS_HOST": text})

    assert (given.host, given.metrics_host) == (host, host)


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
