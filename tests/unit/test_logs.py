"""Logs: one JSON object a line in the Elastic Common Schema, and no secret in any of them."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
import pytest
import structlog
from dramatiq.message import Message

from actors import logs
from actors.log_context import CurrentMessage, LogContext, about
from actors.redaction import Redaction
from config import VERSION, Settings, settings
from tests.conftest import CHECKOUT

SECRET_KEY = 'a "secret" key\\of 32 characters or more'


@pytest.fixture
def given() -> Settings:
    return msgspec.structs.replace(
        settings(),
        log_format="json", environment="testing", secret_key=SECRET_KEY,
        message_keys="a:key-of-messages-32-characters-long,0",
        database_url="postgresql://holdfast:correct%20horse%20battery@db/holdfast",
        database_replica_url="postgresql://h:pw-of-a-copy@a/h,postgresql://h:pw-of-copies@b,c/h",
        rabbitmq_url="amqp://u:p@one;amqp://u:long-enough-secret@two;"
        "amqp://shopkeeper:pw-of-8!@three;amqp://shopkeeper:shopkeeper@four",
    )  # fmt: skip


class Log:
    """A logger with our formatter, and what it wrote."""

    def __init__(self, given: Settings) -> None:
        self._stream = io.StringIO()
        self.handler = logging.StreamHandler(self._stream)
        self.handler.setFormatter(logs.formatter("worker", given))
        # Of its own, with no parent that would write, too.
        self.logger = logging.Logger("holdfast.test")  # noqa: LOG001
        self.logger.addHandler(self.handler)

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def last(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text.splitlines()[-1])
        return found


@pytest.fixture
def log(given: Settings) -> Log:
    return Log(given)


def test_a_line_has_the_fields_of_the_schema(log: Log) -> None:
    log.logger.warning("RabbitMQ %s publishers.", "blocks")

    line = log.last
    assert line["message"] == "RabbitMQ blocks publishers."
    assert line["log.level"] == "warning"
    assert line["log"]["logger"] == "holdfast.test"
    assert line["ecs.version"]
    assert line["service"] == {
        "name": "holdfast-worker", "version": VERSION, "environment": "testing",
    }  # fmt: skip
    assert line["process"]["pid"] > 0
    assert line["process"]["thread"]["name"] == "MainThread"
    at = datetime.fromisoformat(line["@timestamp"])
    assert abs((datetime.now(at.tzinfo) - at).total_seconds()) < 60


def test_an_exception_has_its_type_its_message_and_its_whole_trace(log: Log) -> None:
    try:
        try:
            raise KeyError("deep")
        except KeyError as cause:
            raise ValueError("it is broken") from cause
    except ValueError:
        log.logger.exception("Message %s goes back to its queue.", "m-1")

    line = log.last
    assert line["message"] == "Message m-1 goes back to its queue."
    assert (line["error"]["type"], line["error"]["message"]) == ("ValueError", "it is broken")
    assert "KeyError: 'deep'" in line["error"]["stack_trace"]
    assert "the direct cause" in line["error"]["stack_trace"]
    assert log.text.count("\n") == 1


def test_what_a_line_is_about_goes_by_its_dotted_name(log: Log) -> None:
    log.logger.info("Done.", extra={"trace.id": "0" * 31 + "1", "event.duration": 5, "plain": 1})

    assert log.last["trace"]["id"] == "0" * 31 + "1"
    assert log.last["event"]["duration"] == 5
    assert "plain" not in log.last


@pytest.mark.parametrize("text", ["two\nlines", "\ud800", '"', "ü", "a\0b", "{}", "%s", "\x1b[31m"])
def test_any_text_is_one_line_of_json(log: Log, text: str) -> None:
    log.logger.info("%s", text)

    assert log.last["message"] == text
    assert log.text.count("\n") == 1


def test_a_message_of_a_megabyte_is_cut_short(log: Log) -> None:
    log.logger.error("Failed to process message %s.", "x" * 1_000_000)

    assert log.last["message"].startswith("Failed to process message xxx")
    assert log.last["message"].endswith("more characters)")
    assert len(log.text) < 10_000


def test_structlogs_own_loggers_write_the_same(log: Log) -> None:
    structlog_logger = structlog.wrap_logger(
        log.logger,
        processors=[structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
    )

    structlog_logger.warning("Taken.", **{"trace.id": "t"}, token="hf_abcdefgh12345678")

    assert log.last["message"] == "Taken."
    assert log.last["log.level"] == "warning"
    assert log.last["trace"]["id"] == "t"
    assert "abcdefgh" not in log.text


SECRETS = {
    "an API key": ("Bearer hf_Zm9vYmFyYmF6-_0123 was refused", "Zm9vYmFy"),
    "an API key by itself": ("key=hf_Zm9vYmFyYmF6-_0123", "Zm9vYmFy"),
    "a password in a URL": ("amqps://shop:s3cr3t@mq:5671/v", "s3cr3t"),
    "a password with an @": ("postgresql://shop:s3cr@3t@db/x", "3t@db"),
    "a password without a user": ("redis://:s3cr3t@cache", "s3cr3t"),
    "two URLs": ("amqp://a:s3cr3t@one;amqp://b:0ther@two", "0ther"),
    "libpq's own form": ("host=db password=s3cr3t user=shop", "s3cr3t"),
    "libpq's quotes": ("password='s3c r3t' host=db", "r3t"),
    "a query": ("postgresql://db/x?user=a&password=s3cr3t&x=1", "s3cr3t"),
    "another token": ("Authorization: Bearer abc.def-ghi", "abc.def"),
    "Python's form": ("{'user': 'a', 'password': 's3cr3t', 'port': 5432}", "s3cr3t"),
    "Python's form with a quote": (repr({"password": "it's s3cr3t"}), "s3cr3t"),
    "Python's form with both quotes": (repr({"password": "it's \" s3cr3t"}), "s3cr3t"),
    "JSON": (json.dumps({"password": "5432 s3cr3t"}), "s3cr3t"),
    "JSON in JSON": (json.dumps([json.dumps({"password": "5432 s3cr3t"})]), "s3cr3t"),
    "a setting": ("password = s3cr3t", "s3cr3t"),
    "a line cut short": ("{'password': '5432 s3cr3t", "s3cr3t"),
    "libpq's environment": ("env PGPASSWORD=s3cr3t psql", "s3cr3t"),
    "commas": ("host=db password=a,s3cr3t user=shop", "s3cr3t"),
    "a name and its password": ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    "the same in Python": ("[(b'authorization', b'Basic dXNlcjpwYXNz')]", "dXNlcjpwYXNz"),
    "a session": ("Cookie: a=1; __Host-holdfast=eyJrZXki.aBc-_1; b=2", "eyJrZXki"),
    "a session on loopback": ("cookie: holdfast-8000=eyJrZXki.aBc-_1", "eyJrZXki"),
    "a known password of 8 characters": ("refused: pw-of-8!", "pw-of-8"),
    "the secret key": (f"signed with {SECRET_KEY}!", "of 32 characters"),
    "a key of messages": ("signed with key-of-messages-32-characters-long!", "key-of-messages"),
    "the secret key in JSON": (json.dumps({"key": SECRET_KEY}), "of 32 characters"),
    "a known password by itself": ("refused: long-enough-secret", "long-enough"),
    "a known password of a replica": ("refused: pw-of-a-copy", "copy"),
    "a known password of replicas": ("refused: pw-of-copies", "copies"),
    "a known password, decoded": ("refused: correct horse battery", "horse"),
}


@pytest.mark.parametrize(("text", "secret"), SECRETS.values(), ids=SECRETS.keys())
def test_no_secret_is_ever_written(log: Log, text: str, secret: str) -> None:
    log.logger.info("%s", text, extra={"url.full": text, "labels.all": [text, {"a": text}]})
    try:
        raise ConnectionError(text)
    except ConnectionError:
        log.logger.exception("No connection with %r", text)

    assert secret not in log.text
    assert secret not in log.text.encode().decode("unicode_escape")
    assert "[redacted]" in log.last["error"]["stack_trace"]
    assert "[redacted]" in log.last["error"]["message"]


@pytest.mark.parametrize(
    "text",
    [
        "amqp://mq:5672/v and mail to shop@example.com", "half_life hf_", "http://127.0.0.1:8000/x",
        "2026-11-23T10:00:00Z", "holdfast.orders", "password is wrong", "a: b@c", "shopkeeper",
        "a basic authorization", "holdfast=1", "holdfast-web",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(given: Settings, text: str) -> None:
    assert Redaction(given).text(text) == text


def test_people_get_a_line_they_can_read(given: Settings) -> None:
    log = Log(msgspec.structs.replace(given, log_format="console"))
    try:
        raise ValueError("amqp://u:s3cr3t@h")
    except ValueError:
        log.logger.exception("It failed.", extra={"trace.id": "abc"})

    first, *rest = log.text.splitlines()
    assert "It failed." in first
    assert "error" in first
    assert "trace.id=abc" in first
    assert rest[-1].startswith("ValueError: amqp://u:[redacted]@h")


def test_off_a_terminal_the_format_is_json_unless_told_otherwise(given: Settings) -> None:
    log = Log(msgspec.structs.replace(given, log_format="auto"))
    log.logger.info("Hello.")

    assert log.last["message"] == "Hello."


def message(*commands: object, raw: bytes | None = None) -> Message[None]:
    return Message(
        queue_name="holdfast.orders", actor_name="place_orders", args=(), options={},
        kwargs={"commands": msgspec.Raw(msgspec.json.encode(commands) if raw is None else raw)},
    )  # fmt: skip


ID = "018f0000-0000-8000-8000-00000000000{}"
CLIENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_message_is_named_by_the_traces_of_its_commands() -> None:
    found = about(message({"id": ID.format(1), "traceparent": CLIENT, "x": 1}))

    assert found["trace.id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert found["holdfast.commands"] == 1
    assert found["holdfast.actor"] == "place_orders"


def test_of_many_traces_the_first_few_are_named_and_all_are_counted() -> None:
    found = about(message(*({"id": ID.format(n)} for n in range(9))))

    assert found["trace.id"] == ID.format(0).replace("-", "")
    assert found["holdfast.trace_ids"][1] == ID.format(1).replace("-", "")
    assert len(found["holdfast.trace_ids"]) == 5
    assert found["holdfast.commands"] == 9


#: msgspec's own errors are none of Unicode.
NO_TEXT = (b'[{"id":"\xff"}]', b'[{"id":"x","traceparent":"\xff"}]')


@pytest.mark.parametrize(
    "raw", [b"{}", b"[1]", b"nonsense", b'[{"id": 5}]', b"[" * 5_000, *NO_TEXT]
)
def test_a_message_that_cannot_be_read_is_named_by_its_own_id(raw: bytes) -> None:
    broken = message(raw=raw)

    assert about(broken)["holdfast.message_id"] == broken.message_id
    assert "trace.id" not in about(broken)


@pytest.fixture
def working() -> Iterator[LogContext]:
    context = LogContext()
    yield context
    context.after_process_message(None, None)


def test_a_threads_lines_name_the_message_it_works_on_and_no_longer(
    log: Log, working: LogContext
) -> None:
    log.handler.addFilter(CurrentMessage())
    working.before_process_message(None, message({"id": ID.format(1), "traceparent": CLIENT}))
    log.logger.info("Within.")
    within = log.last
    working.after_process_message(None, None, exception=ValueError())
    log.logger.info("After.")

    assert within["trace"]["id"] == CLIENT[3:35]
    assert "trace" not in log.last


class Unreadable:
    """A message whose every part raises."""

    def __getattr__(self, name: str) -> Any:
        raise LookupError(name)


def test_a_line_is_written_whatever_message_the_thread_works_on(
    log: Log, working: LogContext
) -> None:
    log.handler.addFilter(CurrentMessage())
    working.before_process_message(None, Unreadable())

    log.logger.info("Within.")

    assert log.last["message"] == "Within."
    assert log.last["holdfast"]["unknown"] == "LookupError('kwargs')"


def test_a_batch_is_read_once_however_many_lines_are_about_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[Any] = []

    def traced(message: Any) -> list[Any]:
        read.append(message)
        return []

    monkeypatch.setattr("actors.log_context.traced", traced)
    one, other = message({"id": ID.format(1)}), message({"id": ID.format(2)})

    assert about(one) == about(one) != about(other)

    assert read == [one, other]


def test_the_thread_of_an_error_lives_on_when_its_line_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise UnicodeError("no line")

    monkeypatch.setattr(logs.logger, "critical", broken)

    logs._log_uncaught(KeyError, KeyError("lost"), None)

    assert "KeyError: 'lost'" in capsys.readouterr().err


def test_that_a_message_was_skipped_is_not_said_of_each() -> None:
    lines = run(
        "import logging\n"
        "from actors import logs\n"
        "logs.configure('worker')\n"
        "log = logging.getLogger('dramatiq.worker.WorkerThread')\n"
        "log.warning('Message %s was skipped.', 'm' * 1000)\n"
        "log.error('Failed to process message %s.', 'm')\n"
    )

    assert [line["message"] for line in lines] == ["Failed to process message m."]


def run(script: str) -> list[dict[str, Any]]:
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert ran.stdout == ""
    return [json.loads(line) for line in ran.stderr.splitlines()]


def test_warnings_and_errors_that_nobody_caught_go_the_same_way() -> None:
    lines = run(
        "import threading, warnings\n"
        "from actors import logs\n"
        "logs.configure('clock')\n"
        "warnings.warn('old')\n"
        "thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()\n"
        "raise SystemError('hf_0123456789abcdef')\n"
    )

    assert "old" in lines[0]["message"]
    assert [line.get("error", {}).get("type") for line in lines] == [
        None, "ZeroDivisionError", "SystemError",
    ]  # fmt: skip
    assert "0123456789" not in str(lines)
    assert {line["service"]["name"] for line in lines} == {"holdfast-clock"}


def test_the_version_is_that_of_the_package() -> None:
    assert f'version = "{VERSION}"' in (CHECKOUT / "pyproject.toml").read_text()
