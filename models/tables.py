"""The tables as Peewee models; a test holds them against what the migrations made."""

from typing import Any

import peewee
from playhouse.postgres_ext import ArrayField, BinaryJSONField

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
    requeued_at = TimestampField(null=True)

    class Meta:
        table_name = "dead_letters"


class RateLimit(Table):
    key = peewee.TextField(primary_key=True)
    value = peewee.BigIntegerField()
    expires_at = TimestampField()

    class Meta:
        table_name = "rate_limits"


TABLES = (
    Product, Stock, Command, IdempotencyKey, Order, OrderLine, OrderEvent, StockMovement, ApiKey,
    DeadLetter, RateLimit,
)  # fmt: skip
