"""The Celery application and its one task: one order, one transaction."""

import os
from collections import Counter
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from celery import Celery
from celery.signals import worker_process_init
from sqlalchemy import create_engine, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from bench.peers.usual.tables import (
    IdempotencyKey,
    Order,
    OrderEvent,
    OrderLine,
    Product,
    Stock,
    StockMovement,
)

app = Celery("orders", broker=os.environ["RABBITMQ_URL"])
app.conf.update(
    task_default_queue="orders",
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    broker_transport_options={"confirm_publish": True},
    # One connection for each thread that may publish at once.
    broker_pool_limit=40,
    worker_prefetch_multiplier=int(os.environ.get("PREFETCH", "4")),
    broker_connection_retry_on_startup=True,
)

engine = create_engine(
    os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg2:"),
    # A prefork process runs one task at a time.
    pool_size=1,
    # An UPDATE of several rows in one round trip.
    executemany_mode="values_plus_batch",
)
new_session = sessionmaker(engine, expire_on_commit=False)


@worker_process_init.connect
def leave_inherited_connections(**_: Any) -> None:
    """Connections made before the fork belong to the parent."""
    engine.dispose(close=False)


@app.task(autoretry_for=(OperationalError,), retry_backoff=True, max_retries=None)
def place_order(order_id: str, customer_id: str, lines: list[dict[str, Any]]) -> None:
    """Confirm an order if there is stock for all of it, reject it otherwise."""
    with new_session.begin() as session:
        if claim(session, UUID(order_id)):
            decide(session, UUID(order_id), customer_id, lines)


def claim(session: Session, key: UUID) -> bool:
    """Whether this key has not had its effect yet."""
    statement = insert(IdempotencyKey).values(key=key).on_conflict_do_nothing()
    return session.scalar(statement.returning(IdempotencyKey.key)) is not None


def decide(session: Session, order_id: UUID, customer_id: str, lines: list[dict[str, Any]]) -> None:
    """Lock the stock in SKU order, allocate all lines or none, write what became of it."""
    wanted = Counter[str]()
    for line in lines:
        wanted[line["sku"]] += line["quantity"]
    locked = lock(session, wanted)
    enough = all(
        sku in locked and locked[sku][0].on_hand - locked[sku][0].allocated >= units
        for sku, units in wanted.items()
    )
    prices = {sku: price for sku, (_, price, _) in locked.items()}
    currency = next((currency for _, _, currency in locked.values()), None)
    total = sum(line["quantity"] * prices[line["sku"]] for line in lines) if enough else None
    status = "confirmed" if enough else "rejected"
    session.add(Order(id=order_id, customer_id=customer_id, status=status,
                      currency=currency if enough else None, total=total))  # fmt: skip
    session.add_all(
        OrderLine(order_id=order_id, line_no=number, sku=line["sku"],
                  quantity=line["quantity"], unit_price=prices.get(line["sku"]))
        for number, line in enumerate(lines, start=1)
    )  # fmt: skip
    session.add(OrderEvent(order_id=order_id, sequence=1, type=f"order.{status}", data={}))
    if enough:
        allocate(session, order_id, wanted, locked)


def lock(session: Session, wanted: Counter[str]) -> dict[str, tuple[Stock, int, str]]:
    """Stock, price and currency by SKU; the stock stays locked until the transaction ends."""
    statement = (
        select(Stock, Product.unit_price, Product.currency)
        .join(Product, Product.sku == Stock.sku)
        .where(Stock.sku.in_(wanted))
        .order_by(Stock.sku)
        .with_for_update(of=Stock, key_share=True)
    )
    return {stock.sku: (stock, price, currency) for stock, price, currency
            in session.execute(statement)}  # fmt: skip


def allocate(
    session: Session,
    order_id: UUID,
    wanted: Counter[str],
    locked: dict[str, tuple[Stock, int, str]],
) -> None:
    now = datetime.now(UTC)
    for sku, units in wanted.items():
        locked[sku][0].allocated += units
        session.add(StockMovement(sku=sku, at=now, order_id=order_id, on_hand_delta=0,
                                  allocated_delta=units, reason="placed"))  # fmt: skip
