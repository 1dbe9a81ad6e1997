"""What was asked for has happened, once, as it was asked for; and nothing else has."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Final

from tests.torture.history import Asked, Told
from tests.torture.world import World

TERMINAL: Final = frozenset({"applied", "rejected", "failed"})


def lost(world: World) -> Iterator[str]:
    """P1: what was taken has an outcome."""
    for asked, id_ in _taken(world):
        command = world.commands.get(id_)
        if command is None:
            yield f"{asked.kind} {id_} of {asked.began_s:.1f} s"
        elif command.status not in TERMINAL:
            yield f"{asked.kind} {id_} is {command.status}"
        elif asked.kind == "order" and id_ not in world.orders:
            yield f"order {id_} has no row"


def _taken(world: World) -> Iterator[tuple[Asked, str]]:
    for asked in world.asked:
        if asked.told is Told.OK:
            for id_ in asked.ids:
                yield asked, id_


def told_otherwise(world: World) -> Iterator[str]:
    """P1: who was told an outcome was told the one there is."""
    for asked, id_ in _taken(world):
        if asked.kind != "order" or asked.final not in ("confirmed", "rejected"):
            continue
        events = world.orders[id_].events if id_ in world.orders else []
        if events[:1] != [asked.final]:
            yield f"{id_} was {asked.final} to its client and is {events}"


def done_otherwise(world: World) -> Iterator[str]:
    """P1: an effect is the one that was asked for."""
    yield from _orders_otherwise(world)
    yield from _stock_otherwise(world)
    yield from _moves_otherwise(world)


def _orders_otherwise(world: World) -> Iterator[str]:
    for asked in world.asked:
        if asked.kind != "order" or asked.told is not Told.OK:
            continue
        if len(asked.ids) != len(asked.names):
            yield f"{len(asked.names)} orders are {len(asked.ids)} ids"
            continue
        for id_, customer, units in zip(asked.ids, asked.names, asked.units, strict=True):
            order = world.orders.get(id_)
            if order is not None and (order.customer, order.lines) != (customer, units):
                yield f"order {id_} is {order.customer}, {order.lines}, not {customer}, {units}"


def _stock_otherwise(world: World) -> Iterator[str]:
    moved: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for movement in world.movements:
        if movement.order_id is None:
            moved[movement.command_id].append((movement.sku, movement.on_hand))
    for asked, id_ in _taken(world):
        if asked.kind != "stock" or id_ not in world.commands:
            continue
        applied = world.commands[id_].status == "applied"
        if moved[id_] != ([(asked.names[0], asked.delta)] if applied else []):
            yield f"{asked.names} by {asked.delta} is {moved[id_]}, {world.commands[id_].status}"


def _moves_otherwise(world: World) -> Iterator[str]:
    applied: Counter[str] = Counter()
    for command in world.commands.values():
        if command.kind == "move_order" and command.status == "applied" and command.target:
            applied[command.target] += 1
    for order in world.orders.values():
        if applied[order.id] != max(len(order.events) - 1, 0):
            yield f"order {order.id} was moved {applied[order.id]} times and is {order.events}"
    for asked, id_ in _taken(world):
        if asked.kind != "move" or id_ not in world.commands:
            continue
        moved = world.orders.get(asked.names[0])
        events = moved.events if moved is not None else []
        if world.commands[id_].status == "applied" and asked.to not in events[1:]:
            yield f"order {asked.names[0]} was moved to {asked.to} and is {events}"


def twice(world: World) -> Iterator[str]:
    """P2: nothing has happened more often than it was asked for."""
    times = Counter((m.command_id, m.sku) for m in world.movements)
    yield from (f"command {id_} moves {sku} {n} times" for (id_, sku), n in times.items() if n > 1)
    placed = Counter((m.order_id, m.sku) for m in world.movements if m.reason == "placed")
    for (order_id, sku), n in placed.items():
        order = world.orders.get(order_id or "")
        if n > 1:
            yield f"order {order_id} took {sku} {n} times"
        if order is None or order.events[0] != "confirmed":
            yield f"order {order_id} took {sku} and is {order and order.status}"
    yield from _ordered_twice(world)
    yield from _two_ids_for_a_key(world)


def _ordered_twice(world: World) -> Iterator[str]:
    """One request is one order; with a key, all its attempts together are."""
    of_customer = Counter(order.customer for order in world.orders.values())
    attempts: Counter[str] = Counter()
    keys: dict[str, set[str]] = defaultdict(set)
    for asked in world.asked:
        if asked.kind != "order":
            continue
        for name in asked.names:
            if asked.key is None:
                attempts[name] += 1
            else:
                keys[name].add(asked.key)
    for customer, count in of_customer.items():
        if count > attempts[customer] + len(keys[customer]):
            yield f"{customer} has {count} orders"


def _two_ids_for_a_key(world: World) -> Iterator[str]:
    ids_of: dict[str, list[str]] = {}
    for asked in world.asked:
        if asked.key is None or not asked.ids:
            continue
        if ids_of.setdefault(asked.key, asked.ids) != asked.ids:
            yield f"key {asked.key} has two ids"


def done_though_refused(world: World) -> Iterator[str]:
    """P5: who was refused has no order."""
    customers = {order.customer for order in world.orders.values()}
    fates: dict[str, set[Told]] = defaultdict(set)
    for asked in world.asked:
        if asked.kind == "order":
            for name in asked.names:
                fates[name].add(asked.told)
    for name, fate in fates.items():
        if fate == {Told.REFUSED} and name in customers:
            yield f"the order of {name}"


def not_asked_for(world: World) -> Iterator[str]:
    """P5: no effect without a command, and no command without a request."""
    customers = {name for a in world.asked if a.kind == "order" for name in a.names}
    for order in world.orders.values():
        if order.customer not in customers:
            yield f"order {order.id} of {order.customer}"
        if order.id not in world.commands:
            yield f"order {order.id} has no command"
    for id_, command in world.commands.items():
        if command.kind == "place_order" and id_ not in world.orders:
            yield f"command {id_} has no order"
    for movement in world.movements:
        if movement.command_id not in world.commands:
            yield f"{movement} has no command"
    yield from _moves_not_asked_for(world)
    yield from _stock_not_asked_for(world)


def _distinct(world: World, kind: str) -> Iterator[Asked]:
    """Requests of a kind that may have taken effect, the attempts with one key as one."""
    keys = set()
    for asked in world.asked:
        if asked.kind == kind and asked.told is not Told.REFUSED and asked.key not in keys:
            if asked.key is not None:
                keys.add(asked.key)
            yield asked


def _moves_not_asked_for(world: World) -> Iterator[str]:
    asked = Counter(one.names[0] for one in _distinct(world, "move"))
    done = Counter(c.target for c in world.commands.values() if c.kind == "move_order")
    for order_id, times in done.items():
        if times > asked[order_id or ""]:
            yield f"{times} moves of order {order_id} for {asked[order_id or '']} asked for"


def _stock_not_asked_for(world: World) -> Iterator[str]:
    asked = Counter((one.names[0], one.delta) for one in _distinct(world, "stock"))
    done = Counter((m.sku, m.on_hand) for m in world.movements if m.order_id is None)
    for (sku, delta), times in done.items():
        if times > asked[sku, delta]:
            yield f"{sku} by {delta} {times} times for {asked[sku, delta]} asked for"
