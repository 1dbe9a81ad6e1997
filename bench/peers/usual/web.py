"""The FastAPI application: validates an order and enqueues it, one confirmed message each."""

from typing import Annotated, Literal
from uuid import UUID, uuid4

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from bench.peers.usual.tasks import place_order

app = FastAPI()


class Line(BaseModel):
    model_config = ConfigDict(extra="forbid")
    sku: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    quantity: Annotated[int, Field(ge=1, le=1_000_000)]


class NewOrder(BaseModel):
    model_config = ConfigDict(extra="forbid")
    customer_id: Annotated[str, Field(min_length=1, max_length=64)]
    lines: Annotated[list[Line], Field(min_length=1, max_length=100)]


class Accepted(BaseModel):
    id: UUID
    status: Literal["pending"] = "pending"


@app.get("/readyz")
def ready() -> dict[str, str]:
    return {"status": "ready"}


@app.post("/v1/orders", status_code=202)
def accept(order: NewOrder) -> Accepted:
    """A plain function: FastAPI runs it in a thread, where waiting for the confirm is no harm."""
    order_id = uuid4()
    lines = [line.model_dump() for line in order.lines]
    place_order.delay(str(order_id), order.customer_id, lines)
    return Accepted(id=order_id)
