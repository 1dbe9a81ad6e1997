"""A stock broker, stock workers on it, and what is left in their queues."""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import dramatiq
import dramatiq.worker
import pika
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.common import dq_name, xq_name

from deploy.local.processes import wait_until
from deploy.local.servers import RabbitMQ

#: What a reproduction reports, in the order in which it is shown.
Facts = dict[str, int | str]

SENT = 20
WAIT_S_MAX = 120.0

#: Three seconds by default, in which nothing of interest happens (`dramatiq_restart_delay`).
dramatiq.worker.CONSUMER_RESTART_DELAY_SECS = 0.3


class Rig:
    """A RabbitMQ, and a queue on it that is new for each reproduction."""

    def __init__(self, rabbitmq: RabbitMQ) -> None:
        self.rabbitmq = rabbitmq
        self.queue = f"stock.{uuid4().hex[:8]}"
        self._workers: list[Any] = []

    def broker(self, confirm_delivery: bool = True, **parameters: float) -> Any:
        """A stock broker with the default middleware; parameters: pika's, as in its URL."""
        url = f"{self.rabbitmq.url}?{urlencode(parameters)}"
        return RabbitmqBroker(url=url, confirm_delivery=confirm_delivery)

    def actor(self, broker: Any, function: Callable[..., Any], **options: Any) -> Any:
        """A function as an actor on the queue of this rig."""
        options = {"queue_name": self.queue, **options}
        return dramatiq.actor(broker=broker, actor_name="work", **options)(function)

    def work(self, broker: Any, threads: int) -> Any:
        """A worker, as the `dramatiq` command starts it; it looks at its queues ten times a second.

        Its consumers are there when this returns.
        """
        broker.emit_after("process_boot")
        worker = dramatiq.Worker(broker, worker_threads=threads, worker_timeout=100)
        worker.start()
        self._workers.append(worker)
        return worker

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Raises AssertionError where it does not come true."""
        assert wait_until(condition, WAIT_S_MAX), f"not within {WAIT_S_MAX} s: {what}"

    def wait_idle(self, worker: Any) -> None:
        """Until its threads have settled, or tried to, all that they were given."""
        self.wait(lambda: not worker.work_queue.unfinished_tasks, "threads idle")

    def hang_up(self, worker: Any) -> None:
        """End a worker's connections, as its end does: unsettled messages are RabbitMQ's again.

        Acknowledgements that are under way are sent first; threads that are busy are left.
        """
        self._workers.remove(worker)
        for thread in (*worker.workers, *worker.consumers.values()):
            thread.stop()
        for thread in worker.consumers.values():
            thread.join()
            thread.close()

    @contextlib.contextmanager
    def short_of_memory(self) -> Iterator[None]:
        """RabbitMQ stops reading from connections that publish; it still delivers."""
        self.rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1")
        try:
            yield
        finally:
            self.rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1GB")

    def set_policy(self, queue: str, definition: dict[str, int | str]) -> None:
        """What is declared for a queue by its name, from outside."""
        self._ctl("set_policy", "stock", queue, json.dumps(definition))

    def clear_policy(self) -> None:
        self._ctl("clear_policy", "stock")

    def close_connections(self) -> None:
        """Every connection ends, as in a restart."""
        self._ctl("close_all_connections", "a restart")

    def _ctl(self, command: str, *arguments: str) -> None:
        vhost = self.rabbitmq.url.rpartition("/")[2]
        self.rabbitmq.ctl(command, "--vhost", vhost, *arguments)

    @contextlib.contextmanager
    def channel(self) -> Iterator[Any]:
        with pika.BlockingConnection(pika.URLParameters(self.rabbitmq.url)) as connection:
            yield connection.channel()

    def publish(self, **envelope: Any) -> None:
        """An envelope as another program might send it; what is not given is as it should be."""
        fields = {
            "queue_name": self.queue, "actor_name": "work", "args": [], "kwargs": {},
            "options": {}, "message_id": str(uuid4()), "message_timestamp": 0, **envelope,
        }  # fmt: skip
        with self.channel() as channel:
            channel.confirm_delivery()
            channel.basic_publish("", self.queue, json.dumps(fields).encode(), mandatory=True)

    def ready(self, *names: str) -> int:
        """Messages of exactly these queues that no consumer holds."""
        with self.channel() as channel:
            declared = [channel.queue_declare(name, passive=True) for name in names]
        return sum(one.method.message_count for one in declared)

    def left(self) -> list[dict[str, Any]]:
        """Take what is left, from the queue, its delayed and its dead messages.

        To be asked when no consumer is there any more. What one gave back may take a moment.
        """
        names = (self.queue, dq_name(self.queue), xq_name(self.queue))
        counts: list[int] = []

        def settled() -> bool:
            counts.append(self.ready(*names))
            return len(counts) >= 5 and len(set(counts[-5:])) == 1

        assert wait_until(settled, WAIT_S_MAX, every=0.1), f"messages come and go: {counts}"
        with self.channel() as channel:
            bodies = [body for name in names for body in _taken(channel, name)]
        return [json.loads(body) for body in bodies]

    def close(self) -> None:
        for worker in list(self._workers):
            self.hang_up(worker)
        with self.channel() as channel:
            for name in (self.queue, dq_name(self.queue), xq_name(self.queue)):
                channel.queue_delete(name)


def _taken(channel: Any, queue: str) -> Iterator[bytes]:
    while True:
        delivery, _, body = channel.basic_get(queue, auto_ack=True)
        if delivery is None:
            return
        yield body


def dead_threads(worker: Any) -> int:
    """How many of its threads have ended by an error."""
    return sum(not thread.is_alive() for thread in worker.workers)
