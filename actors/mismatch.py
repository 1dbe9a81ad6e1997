"""A queue that exists with other arguments than ours: nobody can work, and someone has to act.

RabbitMQ refuses the declaration (406) and closes the channel, each time anew. Dramatiq's consumers
would try once a second for ever, in a process that looks healthy. So the process ends, and whoever
started it sees that it did.
"""

import logging
import os
import time
from threading import Lock
from typing import Any, Final, NoReturn

from config import SettingsError

logger = logging.getLogger(__name__)

REFUSED: Final = 406
#: Dramatiq's master waits half a minute for a worker that ends before it has said that it runs.
BOOT_S: Final = 1.0
#: Several consumers find it out at once; one of them says it.
_last_words = Lock()


class QueueMismatch(SettingsError):
    """A queue exists with other arguments; the message says which, and what to do."""


def is_mismatch(error: Any) -> bool:
    """Whether RabbitMQ closed a channel because of what was declared on it."""
    return getattr(error, "reply_code", None) == REFUSED


def explain(error: Any) -> str:
    """What is wrong with which queue, and what to do."""
    return (
        f"RabbitMQ has a queue that differs from what this version and its settings ask for: "
        f"{error.reply_text}. Nothing is lost, and nothing is processed until it is mended: set "
        "QUEUE_LENGTH_MAX to what that queue was made with, or let it run empty, delete it "
        "(`rabbitmqctl delete_queue NAME`) and start again, which makes it anew."
    )


def end_process(error: QueueMismatch) -> NoReturn:
    """Log it and end this worker; Dramatiq's command then ends as well, with the same code."""
    _last_words.acquire()
    logger.error("%s", error)
    time.sleep(BOOT_S)
    # From a consumer's thread. What its neighbours have begun comes again.
    os._exit(os.EX_CONFIG)
