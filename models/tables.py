"""The tables as Peewee models; a test holds them against what the migrations made."""

from typing import Any

import peewee
from playhouse.postgres_ext import ArrayField, BinaryJSONField, TSVectorField

from models.database import database


class TimestampField(peewee.Field):
    """timestamptz: an instant, read and written as an aware datetime in UTC."""

    field_type = "TIMESTAMPTZ"


class Table(peewee.Model):
    """The base of all tables."""

    class Meta:
        database = database


class Product(Table):
    sku = peewee.TextField(primary_key=True)
    name = peewee.TextField(constraints=[peewee.Check("length(name) BETWEEN 1 AND 200")])
    unit_price = peewee.BigIntegerField()
    currency = peewee.TextField()
    created_at = TimestampField()
    updated_at = TimestampField()
    accepted_at = TimestampField(null=True)
    writer = peewee.UUIDField(null=True)

    class Meta:
        table_name = "products"


class Stock(Table):
    sku = peewee.TextField()
    location = peewee.TextField()
    on_hand = peewee.BigIntegerField()
    allocated = peewee.BigIntegerField()
    updated_at = TimestampField()

    class Meta:
        table_name = "stock"
        primary_key = peewee.CompositeKey("sku", "location")
        constraints = [peewee.Check("0 <= allocated AND allocated <= on_hand")]  # noqa: RUF012


class Command(Table):
    id = peewee.UUIDField(primary_key=True)
    kind = peewee.TextField()
    status = peewee.TextField()
    target = peewee.TextField(null=True)
    placed_at = TimestampField()
    decided_at = TimestampField()
    problem = BinaryJSONField(null=True)

    class Meta:
        table_name = "commands"


class IdempotencyKey(Table):
    key_hash = peewee.UUIDField(primary_key=True)
    fingerprint = peewee.UUIDField()
    command_id = peewee.UUIDField()
    seen_at = TimestampField()

    class Meta:
        table_name = "idempotency_keys"


class Order(Table):
    id = peewee.UUIDField()
    placed_at = TimestampField()
    customer_id = peewee.TextField()
    status = peewee.TextField()
    currency = peewee.TextField(null=True)
    total = peewee.BigIntegerField(null=True)
    version = peewee.IntegerField()
    updated_at = TimestampField()
    metadata = BinaryJSONField()
    rejection = BinaryJSONField(null=True)
    move_accepted_at = TimestampField(null=True)
    moved_by = peewee.UUIDField(null=True)

    class Meta:
        table_name = "orders"
        primary_key = peewee.CompositeKey("placed_at", "id")


class OrderLine(Table):
    order_id = peewee.UUIDField()
    placed_at = TimestampField()
    line_no = peewee.SmallIntegerField()
    sku = peewee.TextField()
    quantity = peewee.IntegerField()
    unit_price = peewee.BigIntegerField(null=True)
    location = peewee.TextField(null=True)

    class Meta:
        table_name = "order_lines"
        primary_key = peewee.CompositeKey("placed_at", "order_id", "line_no")


class OrderEvent(Table):
    order_id = peewee.UUIDField()
    placed_at = TimestampField()
    sequence = peewee.IntegerField()
    type = peewee.TextField()
    at = TimestampField()
    data = BinaryJSONField()

    class Meta:
        table_name = "order_events"
        primary_key = peewee.CompositeKey("placed_at", "order_id", "sequence")


class StockMovement(Table):
    at = TimestampField()
    sku = peewee.TextField()
    location = peewee.TextField()
    on_hand_delta = peewee.BigIntegerField()
    allocated_delta = peewee.BigIntegerField()
    reason = peewee.TextField()
    order_id = peewee.UUIDField(null=True)
    command_id = peewee.UUIDField()

    class Meta:
        table_name = "stock_movements"
        primary_key = peewee.CompositeKey("sku", "at", "command_id", "location")


class ApiKey(Table):
    id = peewee.TextField(primary_key=True)
    name = peewee.TextField()
    hash = peewee.BlobField(unique=True)
    scopes: Any = ArrayField(peewee.TextField, index=False)
    rate_limit = peewee.TextField(null=True)
    created_at = TimestampField()
    revoked_at = TimestampField(null=True)

    class Meta:
        table_name = "api_keys"


class DeadLetter(Table):
    id = peewee.BigAutoField()
    message_id = peewee.TextField()
    queue = peewee.TextField()
    actor = peewee.TextField()
    attempts = peewee.IntegerField()
    error_class = peewee.TextField()
    error = peewee.TextField()
    traceback = peewee.TextField()
    body = peewee.BlobField()
    command_ids: Any = ArrayField(peewee.UUIDField, index=False)
    failed_at = TimestampField()
    settled_at = TimestampField(null=True)
    first_failed_at = TimestampField()
    trace_id = peewee.TextField()
    subjects: Any = ArrayField(peewee.TextField, index=False)
    state = peewee.TextField()
    settled_by = peewee.UUIDField(null=True)
    discard_reason = peewee.TextField(null=True)
    words: Any = TSVectorField(index=False)

    class Meta:
        table_name = "dead_letters"


class RateLimit(Table):
    key = peewee.TextField(primary_key=True)
    value = peewee.BigIntegerField()
    expires_at = TimestampField()

    class Meta:
        table_name = "rate_limits"


class ActorStats(Table):
    resolution_s = peewee.IntegerField()
    at = TimestampField()
    actor = peewee.TextField()
    worker = peewee.TextField()
    handled = peewee.BigIntegerField()
    failed = peewee.BigIntegerField()
    retried = peewee.BigIntegerField()
    dead = peewee.BigIntegerField()
    limited = peewee.BigIntegerField()
    decided = peewee.BigIntegerField()
    refused = peewee.BigIntegerField()
    batch: Any = ArrayField(peewee.BigIntegerField, index=False)
    waited: Any = ArrayField(peewee.BigIntegerField, index=False)
    ran: Any = ArrayField(peewee.BigIntegerField, index=False)
    took: Any = ArrayField(peewee.BigIntegerField, index=False)

    class Meta:
        table_name = "actor_stats"
        primary_key = peewee.CompositeKey("resolution_s", "at", "actor", "worker")


class QueueStats(Table):
    resolution_s = peewee.IntegerField()
    at = TimestampField()
    queue = peewee.TextField()
    ready = peewee.BigIntegerField()
    delayed = peewee.BigIntegerField()
    unacked = peewee.BigIntegerField()
    consumers = peewee.IntegerField()
    oldest_s = peewee.DoubleField(null=True)

    class Meta:
        table_name = "queue_stats"
        primary_key = peewee.CompositeKey("resolution_s", "at", "queue")


class Worker(Table):
    id = peewee.TextField(primary_key=True)
    host = peewee.TextField()
    pid = peewee.IntegerField()
    version = peewee.TextField()
    started_at = TimestampField()
    seen_at = TimestampField()
    threads = peewee.IntegerField()
    threads_busy = peewee.IntegerField()
    memory_bytes = peewee.BigIntegerField()
    holds = BinaryJSONField()

    class Meta:
        table_name = "workers"


class PausedQueue(Table):
    queue = peewee.TextField(primary_key=True)
    reason = peewee.TextField()
    paused_by = peewee.TextField()
    paused_at = TimestampField()

    class Meta:
        table_name = "paused_queues"


class ActorLimit(Table):
    actor = peewee.TextField(primary_key=True)
    rate_limit = peewee.TextField()
    set_by = peewee.TextField()
    set_at = TimestampField()

    class Meta:
        table_name = "actor_limits"


class Operation(Table):
    command_id = peewee.UUIDField(primary_key=True)
    action = peewee.TextField()
    filter = BinaryJSONField()
    total = peewee.BigIntegerField()
    done = peewee.BigIntegerField()
    skipped = peewee.BigIntegerField()
    last_id = peewee.BigIntegerField()
    started_at = TimestampField()
    finished_at = TimestampField(null=True)

    class Meta:
        table_name = "operations"


class AuditEntry(Table):
    command_id = peewee.UUIDField(primary_key=True)
    at = TimestampField()
    key_id = peewee.TextField()
    key_name = peewee.TextField()
    address = peewee.TextField()
    agent = peewee.TextField()
    action = peewee.TextField()
    target = peewee.TextField()
    details = BinaryJSONField()

    class Meta:
        table_name = "audit_log"


class Reconciliation(Table):
    at = TimestampField(primary_key=True)
    took_ms = peewee.IntegerField()
    # Of the version before, as `examples`.
    skus = peewee.BigIntegerField(default=0)
    differences = peewee.BigIntegerField()
    examples = BinaryJSONField(default=list)
    since = TimestampField(null=True)
    # Null: kept by the version before, which knew of none.
    checks = BinaryJSONField(null=True)

    class Meta:
        table_name = "reconciliations"


class Attempt(Table):
    message_id = peewee.TextField(primary_key=True)
    alone = peewee.IntegerField()
    last_at = TimestampField()

    class Meta:
        table_name = "attempts"


class Undecided(Table):
    command_id = peewee.UUIDField(primary_key=True)
    kind = peewee.TextField()
    actor = peewee.TextField()
    queue = peewee.TextField()
    message_id = peewee.TextField()
    target = peewee.TextField(null=True)
    customer_id = peewee.TextField(null=True)
    skus: Any = ArrayField(peewee.TextField, index=False)
    accepted_at = TimestampField()
    body = peewee.TextField(null=True)
    attempts = peewee.BigIntegerField()
    first_at = TimestampField()
    last_at = TimestampField()
    error_class = peewee.TextField()
    error = peewee.TextField()

    class Meta:
        table_name = "undecided"


class WaitingMove(Table):
    position = peewee.BigAutoField()
    order_id = peewee.UUIDField()
    command_id = peewee.UUIDField(unique=True)
    accepted_at = TimestampField()
    since = TimestampField()
    moves_to = peewee.TextField()
    command = peewee.TextField()

    class Meta:
        table_name = "waiting_moves"


class Clock(Table):
    id = peewee.TextField(primary_key=True)
    seen_at = TimestampField()
    held = BinaryJSONField()
    conflicts: Any = ArrayField(peewee.TextField, index=False)

    class Meta:
        table_name = "clocks"


class RetiredMonth(Table):
    starts_at = TimestampField(primary_key=True)
    ends_at = TimestampField()
    action = peewee.TextField()
    retired_at = TimestampField()
    manifest = BinaryJSONField(null=True)
    finished_at = TimestampField(null=True)

    class Meta:
        table_name = "retired_months"


class OpeningBalance(Table):
    sku = peewee.TextField()
    location = peewee.TextField()
    on_hand = peewee.BigIntegerField()
    allocated = peewee.BigIntegerField()

    class Meta:
        table_name = "opening_balances"
        primary_key = peewee.CompositeKey("sku", "location")


TABLES = (
    Product, Stock, Command, IdempotencyKey, Order, OrderLine, OrderEvent, StockMovement, ApiKey,
    DeadLetter, RateLimit, ActorStats, QueueStats, Worker, PausedQueue, ActorLimit, Operation,
    AuditEntry, Reconciliation, Attempt, Undecided, RetiredMonth,
    OpeningBalance, Clock, WaitingMove,
)  # fmt: skip
