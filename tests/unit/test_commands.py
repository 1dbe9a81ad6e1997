"""The contract: what a command may be, to the last value that it may have."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import commands
from actors.commands import (
    ACTORS_BY_QUEUE,
    DELTA_MAX,
    LANES,
    LINES_MAX,
    PLACE_BEHIND,
    QUANTITY_MAX,
    ROUTES,
    ROUTES_BY_ACTOR,
    UNIT_PRICE_MAX,
    AdjustStock,
    Line,
    MoveOrder,
    Operate,
    PlaceOrder,
    PutProduct,
)
from actors.limits import parse_rate
from actors.main import broker

ID = "0197f0c0-0000-8000-8000-000000000001"
AT = "2026-11-23T12:00:00Z"
GOOD: dict[Any, dict[str, Any]] = {
    PlaceOrder: {
        "id": ID, "at": AT, "customer_id": "c", "lines": [{"sku": "A", "quantity": 1}],
        "metadata": {},
    },
    MoveOrder: {"id": ID, "at": AT, "order_id": ID, "to": "shipped"},
    PutProduct: {"id": ID, "at": AT, "sku": "A", "name": "Mug", "unit_price": 1, "currency": "EUR"},
    AdjustStock: {"id": ID, "at": AT, "sku": "A", "delta": 1, "reason": "received"},
}  # fmt: skip
DROP = object()


def decode(kind: Any, **changes: Any) -> Any:
    fields = {k: v for k, v in {**GOOD[kind], **changes}.items() if v is not DROP}
    (command,) = commands.decode(kind, msgspec.Raw(msgspec.json.encode([fields])))
    return command


def line(sku: Any = "A", quantity: Any = 1) -> dict[str, Any]:
    return {"sku": sku, "quantity": quantity}


FITS = [
    (PlaceOrder, {"lines": [line(quantity=QUANTITY_MAX)] * LINES_MAX}),
    (PlaceOrder, {"lines": [line("A.b_c-9"), line("x" * 64)]}),
    (PlaceOrder, {"customer_id": "c" * 64}),
    (PlaceOrder, {"customer_id": "\u00e4 \U0001f389"}),
    (PlaceOrder, {"metadata": {"": "", "k": "v\n"}}),
    (MoveOrder, {"to": "delivered"}),
    (MoveOrder, {"to": "cancelled"}),
    (MoveOrder, {"to": "returned", "restock": False, "if_version": 3}),
    (PutProduct, {"unit_price": 0}),
    (PutProduct, {"unit_price": UNIT_PRICE_MAX}),
    (PutProduct, {"name": "n" * 200}),
    (AdjustStock, {"delta": -DELTA_MAX}),
    (AdjustStock, {"delta": DELTA_MAX, "reason": "correction"}),
]
BREAKS = [
    *((kind, {name: DROP}) for kind, fields in GOOD.items() for name in fields),
    *((kind, {name: None}) for kind, fields in GOOD.items() for name in fields),
    *((kind, {"extra": 1}) for kind in GOOD),
    *(
        (kind, {"id": bad})
        for kind in GOOD
        for bad in ("", "x", ID.upper().replace("0", "A"), ID + "\n", ID[:-1], 5)
    ),
    (PlaceOrder, {"at": "yesterday"}),
    (PlaceOrder, {"customer_id": ""}),
    (PlaceOrder, {"customer_id": "c" * 65}),
    (PlaceOrder, {"customer_id": "a\0"}),
    (PlaceOrder, {"lines": []}),
    (PlaceOrder, {"lines": [line()] * (LINES_MAX + 1)}),
    (PlaceOrder, {"lines": [line(quantity=0)]}),
    (PlaceOrder, {"lines": [line(quantity=-1)]}),
    (PlaceOrder, {"lines": [line(quantity=QUANTITY_MAX + 1)]}),
    (PlaceOrder, {"lines": [line(quantity=1.5)]}),
    (PlaceOrder, {"lines": [line(quantity="1")]}),
    (PlaceOrder, {"lines": [line(quantity=True)]}),
    (PlaceOrder, {"lines": [line(sku="")]}),
    (PlaceOrder, {"lines": [line(sku="a b")]}),
    (PlaceOrder, {"lines": [line(sku="x" * 65)]}),
    (PlaceOrder, {"lines": [line(sku="A\n")]}),
    (PlaceOrder, {"lines": [line(sku="\u00e4")]}),
    (PlaceOrder, {"lines": [{**line(), "price": 1}]}),
    (PlaceOrder, {"metadata": {"k": 1}}),
    (PlaceOrder, {"metadata": {"k": "\0"}}),
    (PlaceOrder, {"metadata": {"\0": "v"}}),
    (MoveOrder, {"to": "confirmed"}),
    (MoveOrder, {"to": "pending"}),
    (MoveOrder, {"to": ["shipped"]}),
    (MoveOrder, {"restock": "yes"}),
    (MoveOrder, {"if_version": "1"}),
    (PutProduct, {"name": ""}),
    (PutProduct, {"name": "n" * 201}),
    (PutProduct, {"name": "a\0b"}),
    (PutProduct, {"unit_price": -1}),
    (PutProduct, {"unit_price": UNIT_PRICE_MAX + 1}),
    (PutProduct, {"currency": "eur"}),
    (PutProduct, {"currency": "EURO"}),
    (PutProduct, {"currency": "EUR\n"}),
    (AdjustStock, {"delta": DELTA_MAX + 1}),
    (AdjustStock, {"delta": -DELTA_MAX - 1}),
    (AdjustStock, {"reason": "because"}),
]


@pytest.mark.parametrize(("kind", "changes"), FITS)
def test_what_is_within_the_limits_is_taken(kind: Any, changes: dict[str, Any]) -> None:
    command = decode(kind, **changes)

    again = commands.decode(kind, commands.join([commands.encode(command)]))
    assert again == [command]


@pytest.mark.parametrize(("kind", "changes"), BREAKS)
def test_what_breaks_the_contract_is_refused(kind: Any, changes: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(kind, **changes)


def test_the_dearest_order_has_a_total_that_the_database_can_hold() -> None:
    assert LINES_MAX * QUANTITY_MAX * UNIT_PRICE_MAX < 2**63


def test_a_batch_is_joined_and_split_without_a_change() -> None:
    encoded = [b'{"id":1}', b'{"id":2,"x":[{}]}', b"null"]

    assert [bytes(raw) for raw in commands.split(commands.join(encoded))] == encoded
    assert commands.split(commands.join([])) == []


@given(
    st.lists(
        st.builds(
            PlaceOrder,
            st.uuids().map(str),
            st.datetimes(timezones=st.just(UTC)),
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]),
                    min_size=1, max_size=64),
            st.lists(
                st.builds(Line, st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True),
                          st.integers(1, QUANTITY_MAX)),
                min_size=1, max_size=5,
            ),
            st.dictionaries(
                st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
                st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
                max_size=3,
            ),
        ),
        max_size=4,
    )
)  # fmt: skip
def test_any_batch_comes_back_as_it_was_sent(batch: list[PlaceOrder]) -> None:
    joined = commands.join([commands.encode(each) for each in batch])

    assert commands.decode(PlaceOrder, joined) == batch
    assert [each.id for each in commands.sketch(joined)] == [each.id for each in batch]


def test_a_command_that_breaks_the_contract_is_still_told_by_its_id() -> None:
    broken = {"id": ID, "at": AT, "sku": "A", "lines": "all of them", "extra": [1, {}]}

    (sketch,) = commands.sketch(msgspec.Raw(msgspec.json.encode([broken])))

    assert (sketch.id, sketch.sku, sketch.order_id) == (ID, "A", None)
    assert sketch.at == datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize("batch", [b"{}", b"[1]", b'[{"id": 5}]', b"[" * 100_000])
def test_what_can_not_be_read_at_all_has_no_sketch(batch: bytes) -> None:
    assert commands.sketch(msgspec.Raw(batch)) == []


def test_each_kind_of_command_has_an_actor_of_its_own() -> None:
    routes = list(ROUTES.values())

    assert set(ROUTES) == {PlaceOrder, MoveOrder, PutProduct, AdjustStock, Operate}
    for names in zip(*((route.kind, route.actor) for route in routes), strict=True):
        assert len(set(names)) == len(routes)
    assert {actor: route.actor for actor, route in ROUTES_BY_ACTOR.items()} == {
        route.actor: route.actor for route in [*routes, PLACE_BEHIND]
    }


def test_what_changes_a_sku_goes_through_one_lane_and_moves_through_another() -> None:
    assert ACTORS_BY_QUEUE == {
        "holdfast.orders": ("place_orders",),
        "holdfast.transitions": ("move_orders",),
        "holdfast.skus": ("put_products", "adjust_stock", "place_behind"),
        "holdfast.operations": ("operate",),
    }
    assert set(LANES) == {"holdfast.transitions", "holdfast.skus"}
    for route in ROUTES_BY_ACTOR.values():
        assert route.ordered == (route.queue in LANES)


def test_the_actors_are_where_the_front_door_sends_to() -> None:
    for route in ROUTES_BY_ACTOR.values():
        assert broker.get_actor(route.actor).queue_name == route.queue


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("1/s", (1, 1_000)),
        ("100/s", (100, 1_000)),
        ("9/m", (9, 60_000)),
        ("500/h", (500, 3_600_000)),
    ],
)
def test_a_rate_is_read(text: str, means: tuple[int, int]) -> None:
    assert parse_rate(text) == means


@pytest.mark.parametrize(
    "text", ["", "100", "/s", "0/s", "-1/s", "1.5/s", "01/s", "1/d", "1/second", "1 / s", "1/s\n"]
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="100/s"):
        parse_rate(text)
