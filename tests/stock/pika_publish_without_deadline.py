"""A publish waits for its confirm without any time-out of its own."""

import os
import signal
import threading
import time

import pika
import pika.exceptions

from tests.stock.rig import Facts, Rig

PATIENCE_S = 4


class Publishing(threading.Thread):
    """Publishes once it is told to, on a connection that is open by then."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
        self._channel.confirm_delivery()
        self._began = time.monotonic()
        self._outcome = ""

    def run(self) -> None:
        try:
            # RabbitMQ stops reading before a body; a message without one is still taken.
            self._channel.basic_publish("", "nobody", b"a body")
            self._outcome = "confirmed"
        except pika.exceptions.AMQPError as error:
            self._outcome = type(error).__name__
        self._outcome += f" after {time.monotonic() - self._began:.0f} s"

    def outcome(self) -> str:
        """What became of it, of which one that waits for ever can't tell."""
        self._began = time.monotonic()
        self.start()
        self.join(PATIENCE_S)
        return self._outcome or f"still waiting after {PATIENCE_S} s"


def reproduce(rig: Rig) -> Facts:
    url = rig.rabbitmq.url
    bounded = f"{url}?blocked_connection_timeout=1"
    facts: Facts = {}
    with rig.short_of_memory():
        facts["RabbitMQ is short of memory"] = Publishing(url).outcome()
        facts["the same, blocked_connection_timeout=1"] = Publishing(bounded).outcome()
    publishing = Publishing(bounded)
    os.kill(rig.rabbitmq.pid, signal.SIGSTOP)
    try:
        facts["RabbitMQ stands still, blocked_connection_timeout=1"] = publishing.outcome()
    finally:
        os.kill(rig.rabbitmq.pid, signal.SIGCONT)
    return facts
