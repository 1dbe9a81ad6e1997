"""Real workers in this process: their brokers, their queues, and what is in them."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import dramatiq
import msgspec
import pika
import pika.exceptions
from dramatiq.common import dq_name, xq_name
from dramatiq.message import Message

from actors import placing
from actors.broker import Broker
from actors.commands import (
    Action,
    AdjustStock,
    Command,
    DiscardFailures,
    FailureFilter,
    Line,
    MoveOrder,
    Operate,
    Origin,
    PlaceOrder,
    PutProduct,
    RetryFailures,
    encode,
    join,
)
from actors.inventory import adjust_stock, put_products
from actors.moves import move_orders
from actors.operations import operate
from actors.placing import place_behind, place_orders
from config import settings
from deploy.local.servers import RabbitMQ
from models.database import fetch, reading
from models.rules.behind import SETTING_UP
from tests.conftest import eventually

OURS = (place_orders, place_behind, move_orders, put_products, adjust_stock, operate)
OPERATOR = Origin("key-1", "Ada", "127.0.0.1", "pytest")


class Workshop:
    """A broker of a test's own with workers on it; all its queues go at the end.

    `broker` has the real actors; `actor()` adds one with a queue of its own.
    """

    def __init__(self, rabbitmq: RabbitMQ) -> None:
        self.rabbitmq = rabbitmq
        self.broker = self.new_broker()
        self._workers: list[dramatiq.Worker] = []
        self._stopping: list[Callable[[], None]] = []

    def new_broker(self, **changes: Any) -> Broker:
        """Another broker, as another process has it; changes: of its settings."""
        # As in production, only sooner.
        changes = {"report_every_s": 0.2, "rabbitmq_url": self.rabbitmq.url, **changes}
        given = msgspec.structs.replace(settings(), **changes)
        broker = Broker(given)
        for actor in OURS:
            declare(broker, actor.fn, actor.queue_name)
        self._brokers = [*getattr(self, "_brokers", []), broker]
        return broker

    def start(self, *queues: str, broker: Broker | None = None, threads: int = 2) -> Any:
        """A worker on these queues, with its threads and consumers."""
        worker = dramatiq.Worker(
            broker or self.broker, queues=set(queues), worker_timeout=50, worker_threads=threads
        )
        worker.start()
        self._workers.append(worker)
        return worker

    def stop_workers(self) -> None:
        """Stop all workers; what they held comes back to the queues."""
        while self._workers:
            worker = self._workers.pop()
            assert all(thread.is_alive() for thread in worker.workers), "a worker thread died"
            worker.stop(timeout=20_000)
            assert not any(thread.is_alive() for thread in worker.workers)

    def close(self) -> None:
        try:
            self.stop_workers()
        finally:
            names = {queue for broker in self._brokers for queue in broker.queues}
            with self.connect() as connection:
                channel = connection.channel()
                for queue in names:
                    for name in (queue, dq_name(queue), xq_name(queue)):
                        channel.queue_delete(name)
            for broker in self._brokers:
                broker.close()

    def connect(self) -> pika.BlockingConnection:
        return pika.BlockingConnection(pika.URLParameters(self.rabbitmq.url))

    def publish(self, queue: str, *bodies: bytes) -> None:
        """Bytes straight onto a queue, past every check of ours."""
        self.broker.declare_queue(queue, ensure=True)
        with self.connect() as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            for body in bodies:
                channel.basic_publish("", queue, body, mandatory=True)

    def messages_in(self, queue: str) -> int:
        """Messages ready in exactly this queue; -1 where there is no such queue."""
        with self.connect() as connection:
            try:
                declared = connection.channel().queue_declare(queue, passive=True)
            except pika.exceptions.ChannelClosedByBroker:
                return -1
            return int(declared.method.message_count)

    def eventually_empty(self, *queues: str) -> None:
        """Nothing is left of these queues: not ready, not delayed, not dead, not with a worker."""
        names = [n for queue in queues for n in (queue, dq_name(queue), xq_name(queue))]
        quiet = 0

        def empty() -> bool:
            nonlocal quiet
            left = any(self.messages_in(name) > 0 for name in names)
            # Twice in a row: a message may be on its way between a queue and a worker.
            quiet = 0 if left or self._held() else quiet + 1
            return quiet >= 2

        eventually(empty, what=f"{names} empty")

    def _held(self) -> int:
        """Messages that workers have not settled."""
        consumers: list[Any] = [
            thread.consumer for w in self._workers for thread in w.consumers.values()
        ]
        return sum(
            len(consumer.known_tags) + consumer.channel.get_waiting_message_count()
            for consumer in consumers
            if consumer is not None and consumer.channel.is_open
        )


def declare(broker: Broker, function: Callable[..., Any], queue: str, **options: Any) -> Any:
    """Declare an actor by its function's name."""
    return dramatiq.actor(broker=broker, actor_name=function.__name__, queue_name=queue, **options)(
        function
    )


def new_queue() -> str:
    return f"test.{uuid4().hex[:12]}"


def message(
    queue: str, actor: str, *commands: Command | Any, options: dict[str, Any] | None = None
) -> Message[None]:
    """A message as the front door makes it; a command may be any JSON value."""
    encoded = [msgspec.json.encode(command) for command in commands]
    return Message(
        queue_name=queue, actor_name=actor, args=(), kwargs={"commands": join(encoded)},
        options=options or {},
    )  # fmt: skip


def for_actor(actor: Any, *commands: Any, **options: Any) -> Message[None]:
    return message(actor.queue_name, actor.actor_name, *commands, options=options)


def now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    return str(uuid4())


def product(
    sku: str, unit_price: int = 100, currency: str = "EUR", name: str = "Mug"
) -> PutProduct:
    return PutProduct(new_id(), now(), sku, name, unit_price, currency)


def adjustment(sku: str, delta: int) -> AdjustStock:
    return AdjustStock(new_id(), now(), sku, delta, "received")


def order(
    *lines: tuple[str, int], at: datetime | None = None, customer_id: str = "c-1"
) -> PlaceOrder:
    return PlaceOrder(new_id(), at or now(), customer_id, [Line(*line) for line in lines], {})


def move(order_id: str, to: Any, **members: Any) -> MoveOrder:
    return MoveOrder(new_id(), now(), order_id, to, **members)


def operation(action: Action) -> Operate:
    return Operate(new_id(), now(), OPERATOR, action)


def operated(action: Action) -> str | None:
    """Do what an operator asks for, here and now; returns the outcome."""
    command = operation(action)
    apply(operate, command)
    return outcomes([command])[0]


def failures_like(**members: Any) -> FailureFilter:
    return FailureFilter(up_to_id=2**62, **members)


def put_back(*letters: int) -> str | None:
    """Retry failures by their ids; returns the outcome."""
    return operated(RetryFailures(failures_like(ids=list(letters))))


def discard(*letters: int) -> str | None:
    """Discard failures by their ids; returns the outcome."""
    return operated(DiscardFailures(failures_like(ids=list(letters)), "of no use"))


def apply(actor: Any, *commands: Command) -> None:
    """Run an actor here, as a worker's thread does."""
    actor(commands=join([encode(command) for command in commands]))


def place(orders: Sequence[PlaceOrder]) -> None:
    """Decide new orders for good, in a transaction of this thread's own and of nothing else."""
    placing._place_behind(orders)


def stocked(sku: str, units: int) -> None:
    """A product with so many units on hand, for so long that nothing of it is on its way."""
    apply(put_products, msgspec.structs.replace(product(sku), at=now() - 2 * SETTING_UP))
    if units:
        apply(adjust_stock, adjustment(sku, units))


def rows(sql: str, *params: object) -> list[tuple[Any, ...]]:
    with reading():
        return fetch(sql, params)


def outcomes(commands: Sequence[Command]) -> list[str | None]:
    """What became of the commands, None for an undecided one."""
    found = dict(rows("SELECT id::text, status FROM commands"))
    return [found.get(command.id) for command in commands]


def orders_now(commands: Sequence[Command]) -> list[str | None]:
    """The statuses of the orders, None for one that is not there."""
    found = dict(rows("SELECT id::text, status FROM orders"))
    return [found.get(command.id) for command in commands]


def stock_of(sku: str) -> tuple[int, int]:
    """(on hand, allocated)"""
    ((on_hand, allocated),) = rows("SELECT on_hand, allocated FROM stock WHERE sku = %s", sku)
    return on_hand, allocated


def dead_letters() -> list[tuple[Any, ...]]:
    """(queue, actor, error class, error, traceback), oldest first."""
    return rows("SELECT queue, actor, error_class, error, traceback FROM dead_letters ORDER BY id")


def assert_books_agree() -> None:
    """Stock is the sum of its movements, and what is allocated is what confirmed orders hold."""
    wrong = rows("""
        SELECT s.sku, s.on_hand, s.allocated, m.on_hand, m.allocated, o.units
        FROM stock AS s
        LEFT JOIN LATERAL (
            SELECT coalesce(sum(on_hand_delta), 0) AS on_hand,
                   coalesce(sum(allocated_delta), 0) AS allocated
            FROM stock_movements AS m WHERE m.sku = s.sku AND m.location = s.location
        ) AS m ON true
        LEFT JOIN LATERAL (
            SELECT coalesce(sum(l.quantity), 0) AS units
            FROM order_lines AS l
            JOIN orders AS o ON o.id = l.order_id AND o.placed_at = l.placed_at
            WHERE l.sku = s.sku AND l.location = s.location AND o.status = 'confirmed'
        ) AS o ON true
        WHERE (s.on_hand, s.allocated, s.allocated) <> (m.on_hand, m.allocated, o.units)
           OR NOT (0 <= s.allocated AND s.allocated <= s.on_hand)
    """)
    assert wrong == []
