"""The tables of ../schema.sql, as SQLAlchemy 2 maps them."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import FetchedValue, ForeignKey
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    # What the database fills in is not read back: that would cost a round trip.
    __mapper_args__: ClassVar = {"eager_defaults": False}


class Product(Base):
    __tablename__ = "products"
    sku: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    unit_price: Mapped[int]
    currency: Mapped[str]


class Stock(Base):
    __tablename__ = "stock"
    sku: Mapped[str] = mapped_column(ForeignKey("products.sku"), primary_key=True)
    on_hand: Mapped[int]
    allocated: Mapped[int]
    updated_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())


class IdempotencyKey(Base):
    __tablename__ = "idempotency_keys"
    key: Mapped[UUID] = mapped_column(primary_key=True)
    seen_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    customer_id: Mapped[str]
    status: Mapped[str]
    currency: Mapped[str | None]
    total: Mapped[int | None]
    placed_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())


class OrderLine(Base):
    __tablename__ = "order_lines"
    order_id: Mapped[UUID] = mapped_column(primary_key=True)
    line_no: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str]
    quantity: Mapped[int]
    unit_price: Mapped[int | None]


class OrderEvent(Base):
    __tablename__ = "order_events"
    order_id: Mapped[UUID] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    type: Mapped[str]
    at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)


class StockMovement(Base):
    __tablename__ = "stock_movements"
    sku: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    order_id: Mapped[UUID] = mapped_column(primary_key=True)
    on_hand_delta: Mapped[int]
    allocated_delta: Mapped[int]
    reason: Mapped[str]
