"""A Falcon WSGI application: validates an order and enqueues it, one confirmed message each."""

from typing import Annotated
from uuid import uuid4

import falcon
import msgspec

from bench.peers.one_by_one.actors import place_order

Sku = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class Line(msgspec.Struct, forbid_unknown_fields=True):
    sku: Sku
    quantity: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class NewOrder(msgspec.Struct, forbid_unknown_fields=True):
    customer_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    lines: Annotated[list[Line], msgspec.Meta(min_length=1, max_length=100)]


_decoder = msgspec.json.Decoder(NewOrder)


class Orders:
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        try:
            order = _decoder.decode(request.bounded_stream.read())
        except msgspec.DecodeError as error:
            raise falcon.HTTPUnprocessableEntity(description=str(error)) from error
        order_id = str(uuid4())
        lines = [msgspec.structs.asdict(line) for line in order.lines]
        place_order.send(order_id, order.customer_id, lines)
        response.status = falcon.HTTP_202
        response.media = {"id": order_id, "status": "pending"}


class Ready:
    def on_get(self, _request: falcon.Request, response: falcon.Response) -> None:
        response.media = {"status": "ready"}


app = falcon.App()
app.add_route("/v1/orders", Orders())
app.add_route("/readyz", Ready())
