"""All logs through one pipeline, ours and the libraries' alike.

For machines one JSON object a line, in the Elastic Common Schema; for people on a terminal a line
of coloured text. What a line is about goes into `extra`, under the schema's dotted names:
`logger.info("Taken.", extra={"trace.id": trace_id})`.
"""

import logging
import os
import sys
import threading
import traceback
from datetime import UTC, datetime
from typing import Any

import ecs_logging
import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor

from actors.redaction import Redaction
from config import VERSION, Settings, SettingsError, settings

#: Dramatiq quotes whole messages, of up to a megabyte.
MESSAGE_CHARACTERS_MAX = 4_000
TRACE_CHARACTERS_MAX = 60_000

logger = logging.getLogger(__name__)


def configure(role: str, given: Settings | None = None) -> logging.Handler:
    """Send every logger's lines to standard error; returns the handler that does.

    role: `web`, `worker`, `clock` or `cli`. Settings that make no sense stop a process elsewhere,
    and are no reason to be silent here: without them it is as if none were given.
    """
    given = given or _settings()
    handler = _Stderr()
    handler.setFormatter(formatter(role, given))
    logging.basicConfig(handlers=[handler], level=_level(given), force=True)
    logging.captureWarnings(capture=True)
    # Every cause of a lost connection six times over, as errors: whoever used it says so once.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    logging.getLogger("dramatiq.worker.WorkerThread").addFilter(_but_skips)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    if role != "cli":
        sys.excepthook = _log_uncaught
        threading.excepthook = _log_uncaught_in_thread
    return handler


def refuse(role: str, error: SettingsError) -> int:
    """Say why a process doesn't start, in one line without a traceback; returns its exit code."""
    configure(role)
    logger.critical("%s", error)
    return 1


def formatter(role: str, given: Settings | None) -> ProcessorFormatter:
    """How a line is written: by LOG_FORMAT, or by whether standard error is a terminal."""
    chosen = given.log_format if given else "auto"
    # Where Dramatiq has put a pipe, the real one tells.
    terminal = sys.__stderr__ is not None and sys.__stderr__.isatty()
    redact = Redaction(given)

    def redacted(_logger: Any, _name: str, line: EventDict) -> EventDict:
        return {name: redact.value(value) for name, value in line.items()}

    last: list[Processor]
    if chosen == "console" or (chosen == "auto" and terminal):
        last = [_for_people, redacted, structlog.dev.ConsoleRenderer(colors=terminal)]
    else:
        last = [_Ecs(role, given), redacted, _to_json]
    return ProcessorFormatter(
        processors=[_about, _bounded, ProcessorFormatter.remove_processors_meta, *last]
    )


class _Stderr(logging.Handler):
    """Writes to what standard error is at that moment: Dramatiq makes a pipe of it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            # At one go, or two processes' lines get mixed.
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:  # a line that can't be written must not stop what it is about
            self.handleError(record)


def _but_skips(record: logging.LogRecord) -> bool:
    """All but Dramatiq's warning, with the whole message, for each that a pause puts back."""
    return record.msg != "Message %s was skipped."


def _settings() -> Settings | None:
    try:
        return settings()
    except SettingsError:
        return None


def _level(given: Settings | None) -> str:
    return (given.log_level if given else "info").upper()


def _about(_logger: Any, _name: str, line: EventDict) -> EventDict:
    """What the record itself knows, and its extras by their dotted names."""
    record: logging.LogRecord = line["_record"]
    line.update((name, value) for name, value in record.__dict__.items() if "." in name)
    line["level"], line["logger"] = record.levelname.lower(), record.name
    line["at"] = datetime.fromtimestamp(record.created, UTC)
    line["thread"] = record.threadName
    return line


def _bounded(_logger: Any, _name: str, line: EventDict) -> EventDict:
    text = str(line["event"])
    if len(text) > MESSAGE_CHARACTERS_MAX:
        left_out = len(text) - MESSAGE_CHARACTERS_MAX
        text = f"{text[:MESSAGE_CHARACTERS_MAX]}… ({left_out} more characters)"
    line["event"] = text
    return line


def _stack_trace(error: BaseException) -> str:
    text = "".join(traceback.format_exception(error))
    # Its end says what went wrong.
    return text if len(text) <= TRACE_CHARACTERS_MAX else f"…{text[-TRACE_CHARACTERS_MAX:]}"


def _error_of(line: EventDict) -> BaseException | None:
    info = line.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    return error if isinstance(error, BaseException) else None


class _Ecs:
    """The names of the Elastic Common Schema."""

    def __init__(self, role: str, given: Settings | None) -> None:
        self._service = {
            "service.name": f"holdfast-{role}",
            "service.version": VERSION,
            "service.environment": given.environment if given else "unknown",
        }

    def __call__(self, _logger: Any, _name: str, line: EventDict) -> EventDict:
        error = _error_of(line)
        at = line.pop("at")
        line.update(self._service)
        line["@timestamp"] = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line["log.level"] = line.pop("level")
        line["log.logger"] = line.pop("logger")
        line["process.pid"] = os.getpid()
        line["process.thread.name"] = line.pop("thread")
        if error is not None:
            line["error.type"] = type(error).__name__
            line["error.message"] = str(error)
            line["error.stack_trace"] = _stack_trace(error)
        return line


def _for_people(_logger: Any, _name: str, line: EventDict) -> EventDict:
    """The names that structlog's renderer for terminals knows."""
    error = _error_of(line)
    line["timestamp"] = line.pop("at").astimezone().strftime("%H:%M:%S")
    line.pop("thread")
    if error is not None:
        line["exception"] = _stack_trace(error).rstrip()
    return line


_json = ecs_logging.StructlogFormatter()


def _to_json(logger: Any, name: str, line: EventDict) -> str:
    return _json(logger, name, dict(line))


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    try:
        logger.critical("An error that nobody caught: %s", kind.__name__, exc_info=error)
    except Exception:  # it is the last to hear of the error: Python says it then
        sys.__excepthook__(kind, error, trace)


def _log_uncaught_in_thread(given: threading.ExceptHookArgs) -> None:
    # To leave a thread by SystemExit is no error.
    if given.exc_value is not None and not isinstance(given.exc_value, SystemExit):
        _log_uncaught(given.exc_type, given.exc_value, given.exc_traceback)
