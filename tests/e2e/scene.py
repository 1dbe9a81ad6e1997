"""A system with failures: what a bug leaves behind, until it is mended."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import uuid4

import msgspec
import pika

from actors.commands import ROUTES, Line, PlaceOrder
from tests.conftest import System, eventually, signer
from tests.e2e.operators import HOSTILE, Operator
from tests.e2e.shop import Shop
from web.ids import ORDER, IdMint

CURSED = "cursed"
#: A bug's stand-in: orders of some customers can't be written, until it is mended.
CURSE = f"""
CREATE FUNCTION curse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'check_violation',
        MESSAGE = '=cmd() ' || $text${HOSTILE}$text$ || ' for ' || NEW.customer_id;
END $$;
CREATE TRIGGER curse BEFORE INSERT ON orders FOR EACH ROW
WHEN (starts_with(NEW.customer_id, '{CURSED}') AND NEW.status <> 'failed')
EXECUTE FUNCTION curse();
"""
RETRIES_MAX = 5
OPEN = "SELECT count(*) FROM dead_letters WHERE state = 'failed'"


class Scene(NamedTuple):
    """What the tests share. The curse lies on orders of customers called cursed…"""

    system: System
    shop: Shop
    operator: Operator
    reader: Operator
    mint: IdMint
    sku: str
    hostile: str = ""
    many: Sequence[str] = ()

    def open(self) -> int:
        return int(self.system.sql(OPEN)[0][0])

    def failure(self, order_id: str) -> int:
        """The id of the newest failure of an order."""
        statement = "SELECT max(id) FROM dead_letters WHERE command_ids @> ARRAY[%s::uuid]"
        return int(self.system.sql(statement, order_id)[0][0])

    def fail(self, *customers: str) -> list[str]:
        """Orders that end up as failures, and are waited for; returns their ids."""
        before = self.open()
        ids = [self.mint.new(ORDER) for _ in customers]
        with pika.BlockingConnection(
            pika.URLParameters(self.system.environment["RABBITMQ_URL"])
        ) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            for id_, customer in zip(ids, customers, strict=True):
                order = PlaceOrder(id_, datetime.now(UTC), customer, [Line(self.sku, 1)], {})
                body = last_attempt(order)
                channel.basic_publish("", ROUTES[PlaceOrder].queue, body, mandatory=True)
        wanted = before + len(customers)
        eventually(lambda: self.open() >= wanted, within_s=180, what="they failed for good")
        return ids


def last_attempt(order: PlaceOrder) -> bytes:
    """A message as it is before its last attempt."""
    content = msgspec.json.encode(
        {
            "queue_name": ROUTES[PlaceOrder].queue,
            "actor_name": ROUTES[PlaceOrder].actor,
            "args": [],
            "kwargs": {"commands": [order]},
            "options": {"retries": RETRIES_MAX},
            "message_id": str(uuid4()),
            "message_timestamp": 1_700_000_000_000,
        }
    )
    return signer.sign(content)
