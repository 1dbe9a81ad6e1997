"""The promises P1 to P9 and P7b, held against what clients were told and what the database says."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

from actors.commands import PLACE_BEHIND, ROUTES, PlaceOrder
from models.rules.order_status import MOVES
from tests.torture import effects, in_turn
from tests.torture.faults.messages import CURSED, HEXED
from tests.torture.history import Event, Told
from tests.torture.rig import Rig
from tests.torture.saboteur import KILLER
from tests.torture.watch import OUT_OF_BALANCE
from tests.torture.world import World, look

RECOVERY_S_MAX: Final = 60.0
POISON: Final = (CURSED, KILLER)
#: What decides orders: the second one those of products that are being set up.
DECIDERS: Final = (ROUTES[PlaceOrder].actor, PLACE_BEHIND.actor)
#: A confirm that was on its way when the link broke may still be read by then.
IN_FLIGHT_S: Final = 0.5
#: What RabbitMQ says of a queue's length may be this old.
STALE_S_MAX: Final = 10.0
EXAMPLES: Final = 3

#: Units sold (orders hold or have shipped them, and they did not come back), from the orders' own
#: lines, and units that ever came in: neither looks at the stock.
SOLD: Final = """
WITH sold AS (
    SELECT l.sku, sum(l.quantity) AS units FROM orders AS o
    JOIN order_lines AS l ON l.placed_at = o.placed_at AND l.order_id = o.id
    WHERE o.status IN ('confirmed', 'shipped', 'delivered') GROUP BY l.sku
), came AS (
    SELECT sku, sum(on_hand_delta) AS units FROM stock_movements
    WHERE order_id IS NULL GROUP BY sku
)
SELECT sku, sold.units, coalesce(came.units, 0) FROM sold LEFT JOIN came USING (sku)
WHERE sold.units > coalesce(came.units, 0)
"""


@dataclass
class Verdict:
    """What was counted, and every promise that was broken, in words.

    not_proved: why the run proves nothing, such as a fault that did not fire.
    """

    accepted: int = 0
    decided: int = 0
    lost: int = 0
    duplicated: int = 0
    refused: int = 0
    unknown: int = 0
    in_turn: int = 0
    oversold: int = 0
    ledger_differences: int = 0
    undrained: int = 0
    not_proved: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    recoveries: list[Event] = field(default_factory=list)

    @property
    def valid(self) -> bool:
        """Whether the run proves anything."""
        return not self.not_proved

    @property
    def good(self) -> bool:
        return self.valid and not self.broken

    def breaks(self, promise: str, cases: Iterable[str]) -> int:
        """Note the cases in which a promise is broken; returns how many."""
        found = list(cases)
        if found:
            more = f" and {len(found) - EXAMPLES} more" if len(found) > EXAMPLES else ""
            self.broken.append(f"{promise}: {'; '.join(found[:EXAMPLES])}{more}")
        return len(found)

    def needs(self, proved: bool, what: str) -> None:
        """Note what a run has to have seen, or it proves nothing."""
        if not proved:
            self.not_proved.append(what)


def check(rig: Rig, history: Path, patience_s: float = RECOVERY_S_MAX) -> Verdict:
    """Hold a finished run to its promises. patience_s: how long a recovery may take."""
    world = look(rig, history)
    verdict = Verdict()
    _count(verdict, world)
    verdict.lost = verdict.breaks("P1 lost", effects.lost(world))
    verdict.breaks("P1 told otherwise", effects.told_otherwise(world))
    verdict.breaks("P1 done otherwise", effects.done_otherwise(world))
    verdict.breaks("P1 failed without a fault of its own", _innocent_failures(world))
    verdict.breaks("P1 a failure nobody is told of", _odd_letters(world))
    verdict.duplicated = verdict.breaks("P2 twice", effects.twice(world))
    _books(verdict, rig)
    verdict.breaks("P5 refused and done", effects.done_though_refused(world))
    verdict.breaks("P5 not asked for", effects.not_asked_for(world))
    _drained(verdict, rig)
    _recovered(verdict, world, patience_s)
    verdict.breaks("P7 timeline", _odd_timelines(world))
    verdict.breaks("P7 went back", _went_back(world))
    verdict.breaks("P7b out of turn", in_turn.out_of_turn(world))
    verdict.breaks("P8 taken without a confirm", _unconfirmed(world))
    verdict.breaks("Its own reconciliation", rig.reconcile())
    return verdict


def _count(verdict: Verdict, world: World) -> None:
    ids = {id_ for a in world.asked if a.told is Told.OK and a.kind == "order" for id_ in a.ids}
    verdict.accepted = len(ids)
    verdict.decided = sum(
        id_ in world.commands and world.commands[id_].status in effects.TERMINAL for id_ in ids
    )
    verdict.refused = sum(asked.told is Told.REFUSED for asked in world.asked)
    verdict.unknown = sum(asked.told is Told.UNKNOWN for asked in world.asked)
    statuses = {order.events[0] for order in world.orders.values() if order.events}
    verdict.needs({"confirmed", "rejected"} <= statuses, "orders of both decisions")
    verdict.needs(verdict.refused > 0, "a request that was refused")
    chains = [chain.accepted for chain in in_turn.links(world) if len(chain.accepted) > 1]
    verdict.in_turn = sum(map(len, chains))
    verdict.needs(
        {"order", "product"} <= {chain[0].kind for chain in chains}, "chains of both kinds"
    )


def _innocent_failures(world: World) -> Iterator[str]:
    """Only what is poisoned fails; its neighbours go on."""
    named = {id_ for letter in world.letters for id_ in letter.command_ids}
    for id_, command in world.commands.items():
        if command.status != "failed":
            continue
        order = world.orders.get(id_)
        if order is None or not order.customer.startswith(POISON):
            yield f"{command.kind} {id_} of {order and order.customer}"
        if id_ not in named:
            yield f"{command.kind} {id_} failed and is not on record"


def _odd_letters(world: World) -> Iterator[str]:
    for letter in world.letters:
        poisoned = all(
            id_ in world.orders and world.orders[id_].status == "failed"
            for id_ in letter.command_ids
        )
        put_back = letter.state == "retried" and HEXED in letter.error
        if letter.actor and not put_back and not (letter.actor in DECIDERS and poisoned):
            yield f"{letter.actor}: {letter.error[:200]}"


def _books(verdict: Verdict, rig: Rig) -> None:
    """P3 and P4, at the end; Watch has looked all the time."""
    verdict.ledger_differences = verdict.breaks(
        "P4 out of balance", (f"{row}" for row in rig.sql(OUT_OF_BALANCE))
    )
    sold = rig.sql(SOLD)
    verdict.oversold = sum(int(sold) - int(came) for _, sold, came in sold)
    verdict.breaks("P3 oversold", (f"{sku}: {sold} sold of {came}" for sku, sold, came in sold))


def _drained(verdict: Verdict, rig: Rig) -> None:
    """P6: nothing is left in any queue."""
    left = rig.backlog_at_rest(STALE_S_MAX)
    verdict.undrained = sum(left.values())
    verdict.breaks("P6 undrained", (f"{count} in {queue}" for queue, count in left.items()))


def _recovered(verdict: Verdict, world: World, patience_s: float) -> None:
    """P6: after each fault all was decided soon; and each fault has happened."""
    verdict.not_proved += [f"{e.fault}: {e.detail}" for e in world.events if not e.fired]
    verdict.recoveries = [event for event in world.events if event.fired]
    late = (
        f"{e.fault} at {e.began_s:.0f} s" for e in verdict.recoveries
        if e.recovered_s is None or e.recovered_s > patience_s
    )  # fmt: skip
    verdict.breaks(f"P6 not recovered within {patience_s:g} s", late)


def _odd_timelines(world: World) -> Iterator[str]:
    """P7: every timeline is made of drawn moves."""
    for order in world.orders.values():
        chain = ["pending", *order.events]
        legal = all(then in MOVES[now] for now, then in pairwise(chain))
        if not legal or chain[-1] != order.status or order.version != len(chain) - 1:
            yield f"order {order.id} is {order.status}, version {order.version}, by way of {chain}"


def _went_back(world: World) -> Iterator[str]:
    """P7: and nobody ever saw anything else."""
    for seen in world.seen:
        for id_, (status, version) in seen.orders.items():
            order = world.orders.get(id_)
            if order is None:
                yield f"order {id_} was {status} and is gone"
            elif version > len(order.events) or order.events[version - 1] != status:
                yield f"order {id_} was {status}, version {version}, in {order.events}"


def _unconfirmed(world: World) -> Iterator[str]:
    """P8: nobody is told that a change is taken while no confirm can come."""
    for dark in world.blackouts:
        for asked in world.asked:
            within = dark.began_s + IN_FLIGHT_S < asked.began_s and asked.ended_s < dark.ended_s
            if within and asked.told is Told.OK and not asked.replayed:
                yield f"{asked.kind} {asked.names[:1]} at {asked.began_s:.2f} s"
