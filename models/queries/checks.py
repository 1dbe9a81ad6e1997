"""What has to hold in every snapshot: each check is one statement that finds what does not.

A statement's `%s` is the time to look back to: what was decided since (`-infinity`: everything).
All that one decision writes has the instant of its transaction (`commands.decided_at`,
`order_events.at`, `stock_movements.at`), so a look back cuts nothing in half. Stock, what is
allocated and what is pending is looked at whole, whatever the time.

Of months that are no longer kept there are the commands, and the opening balances: an order that
was placed then is not looked at, whatever happened to it later.
"""

from typing import Final, NamedTuple

from models.queries.retention import KEPT_FROM
from models.queries.stats import FINEST_S
from models.rules.order_status import CONFIRMED, EFFECT_PER_UNIT, MOVES, timelines

#: Whoever decides an order applies its moves at once; what a crash leaves behind the clock does.
LEFT_BEHIND_MINUTES: Final = 1
#: A command that was put back has its message before it is pending: so long without is no race.
PENDING_MINUTES: Final = 5
#: Of the 30 samples that the clock takes in that time.
SAMPLES_MIN: Final = 20

#: Where the commands of each kind may wait; actors/commands.py says the same.
QUEUES: Final = (
    ("place_order", "holdfast.orders"),
    ("move_order", "holdfast.transitions"),
    ("put_product", "holdfast.skus"),
    ("adjust_stock", "holdfast.skus"),
    ("operate", "holdfast.operations"),
    ("place_order", "holdfast.skus"),
)


class Check(NamedTuple):
    """Something that holds.

    between: what would differ, for a heading; holds: what that means; statement: gives a row for
    each difference; line: explains one, from its columns; about: what it is about, in the words of
    actors/subjects.py.
    """

    name: str
    between: str
    holds: str
    statement: str
    line: str
    about: str


#: Orders that something was decided about, with the outcome of the command that placed them.
TOUCHED = f"""
touched AS (
    SELECT id, placed_at, status FROM commands
    WHERE kind = 'place_order' AND decided_at >= %s AND placed_at >= {KEPT_FROM}
    UNION
    SELECT p.id, p.placed_at, p.status FROM commands AS m
    JOIN commands AS p
        ON p.id = CASE WHEN m.status = 'applied' THEN m.target::uuid END
        AND p.kind = 'place_order' AND p.placed_at >= {KEPT_FROM}
    WHERE m.kind = 'move_order' AND m.decided_at >= %s
)
"""

#: For what differs: whether it is about an order that is no longer kept.
IS_KEPT = f"""
NOT EXISTS (SELECT FROM commands AS c
            WHERE c.id = order_id::uuid AND c.kind = 'place_order' AND c.placed_at < {KEPT_FROM})
"""

STOCK = f"""
WITH kept AS (
    SELECT sku, location, sum(on_hand_delta) AS on_hand, sum(allocated_delta) AS allocated,
           count(*) AS movements, max(at) AS last_at
    FROM stock_movements WHERE at >= {KEPT_FROM} GROUP BY sku, location
), ledger AS (
    SELECT sku, location, sum(on_hand) AS on_hand, sum(allocated) AS allocated,
           sum(movements) AS movements, max(last_at) AS last_at
    FROM (
        SELECT * FROM kept
        UNION ALL
        SELECT sku, location, on_hand, allocated, 0, NULL FROM opening_balances
    ) AS entry GROUP BY sku, location
)
SELECT sku, location, s.on_hand, s.allocated, coalesce(l.on_hand, 0) AS ledger_on_hand,
       coalesce(l.allocated, 0) AS ledger_allocated, coalesce(l.movements, 0) AS movements,
       l.last_at
FROM stock AS s FULL JOIN ledger AS l USING (sku, location)
WHERE (s.on_hand, s.allocated) IS DISTINCT FROM (coalesce(l.on_hand, 0), coalesce(l.allocated, 0))
"""

ALLOCATION = f"""
WITH held AS (
    SELECT l.sku, l.location, sum(l.quantity) AS units, count(*) AS lines
    FROM orders AS o JOIN order_lines AS l ON l.placed_at = o.placed_at AND l.order_id = o.id
    WHERE o.status = '{CONFIRMED}' GROUP BY l.sku, l.location
)
SELECT sku, location, coalesce(s.allocated, 0) AS allocated, coalesce(h.units, 0) AS units,
       coalesce(h.lines, 0) AS lines
FROM stock AS s FULL JOIN held AS h USING (sku, location)
WHERE coalesce(s.allocated, 0) <> coalesce(h.units, 0)
"""

BOUNDS = """
SELECT sku, location, on_hand, allocated FROM stock
WHERE NOT (0 <= allocated AND allocated <= on_hand)
"""

#: `failed` without an order is one that could not be read or kept; see actors/dead_letters.py.
OUTCOMES = f"""
WITH {TOUCHED}
SELECT t.id AS order_id, t.status AS outcome, coalesce(o.status, 'missing') AS status
FROM touched AS t LEFT JOIN orders AS o ON o.placed_at = t.placed_at AND o.id = t.id
WHERE NOT CASE t.status
    WHEN 'applied' THEN coalesce(o.status NOT IN ('rejected', 'failed'), false)
    WHEN 'rejected' THEN coalesce(o.status = 'rejected', false)
    ELSE coalesce(o.status = 'failed', true)
END
"""

#: The inbox lets no order be placed longer than 20 days before it is decided: older months have
#: none that is new, but for failed ones put back, which have their command.
ORIGINS = """
SELECT o.id AS order_id, o.status, o.placed_at,
       coalesce((SELECT c.kind || ', placed ' || c.placed_at FROM commands AS c WHERE c.id = o.id),
                'none') AS command
FROM orders AS o
LEFT JOIN commands AS p ON p.id = o.id AND p.kind = 'place_order' AND p.placed_at = o.placed_at
WHERE p.id IS NULL AND o.updated_at >= %s AND o.placed_at >= %s::timestamptz - interval '20 days'
"""

LEGAL = ", ".join(f"'{' '.join(statuses)}'" for statuses in timelines())
TIMELINES = f"""
WITH {TOUCHED}, timeline AS (
    SELECT t.id, t.placed_at, count(*) AS events, max(e.sequence) AS last,
           string_agg(substr(e.type, 7), ' ' ORDER BY e.sequence) AS path
    FROM touched AS t JOIN order_events AS e ON e.placed_at = t.placed_at AND e.order_id = t.id
    GROUP BY t.id, t.placed_at
)
SELECT t.id AS order_id, coalesce(o.status, 'missing') AS status, o.version,
       coalesce(l.path, 'empty') AS path, coalesce(l.events, 0) AS events, l.last
FROM touched AS t
LEFT JOIN orders AS o ON o.placed_at = t.placed_at AND o.id = t.id
LEFT JOIN timeline AS l ON l.placed_at = t.placed_at AND l.id = t.id
WHERE (o.id IS NOT NULL OR l.id IS NOT NULL)
  AND NOT coalesce(l.path IN ({LEGAL}) AND split_part(l.path, ' ', -1) = o.status
                   AND l.events = o.version AND l.last = o.version, false)
"""

#: An event's type, its reason in the ledger, and what it does to (on_hand, allocated) per unit.
EFFECTS = ", ".join(
    f"('order.{status}', '{reason}', {on_hand}, {allocated})"
    for status, reason, on_hand, allocated in [
        (CONFIRMED, "placed", 0, 1),
        *((status, status, *effect) for status, effect in EFFECT_PER_UNIT.items() if any(effect)),
    ]
)
ORDER_MOVEMENTS = f"""
WITH {TOUCHED}, entry AS (
    SELECT e.order_id, l.sku, l.location, effect.reason, 0 AS movements,
           l.quantity * effect.on_hand AS expected_on_hand,
           l.quantity * effect.allocated AS expected_allocated, 0 AS on_hand, 0 AS allocated
    FROM touched AS t
    JOIN order_events AS e ON e.placed_at = t.placed_at AND e.order_id = t.id
        AND e.at >= greatest(%s, {KEPT_FROM})
    JOIN (VALUES {EFFECTS}) AS effect (type, reason, on_hand, allocated) ON effect.type = e.type
    JOIN order_lines AS l ON l.placed_at = t.placed_at AND l.order_id = t.id
    WHERE e.data ->> 'restock' IS DISTINCT FROM 'false'
    UNION ALL
    SELECT order_id, sku, location, reason, 1, 0, 0, on_hand_delta, allocated_delta
    FROM stock_movements WHERE order_id IS NOT NULL AND at >= greatest(%s, {KEPT_FROM})
), difference AS (
    SELECT order_id, sku, location, reason, sum(movements) AS movements,
           sum(expected_on_hand) AS expected_on_hand,
           sum(expected_allocated) AS expected_allocated,
           sum(on_hand) AS on_hand, sum(allocated) AS allocated
    FROM entry GROUP BY order_id, sku, location, reason
    HAVING sum(on_hand) <> sum(expected_on_hand) OR sum(allocated) <> sum(expected_allocated)
)
SELECT * FROM difference WHERE {IS_KEPT}
"""

MOVEMENT_COMMANDS = """
SELECT m.command_id, m.sku, m.location, m.at, m.reason, m.order_id, m.on_hand_delta AS on_hand,
       m.allocated_delta AS allocated,
       coalesce(c.kind || ' of ' || coalesce(c.target, c.id::text) || ', ' || c.status, 'missing')
           AS command
FROM stock_movements AS m LEFT JOIN commands AS c ON c.id = m.command_id
WHERE m.at >= %s AND NOT coalesce(c.status = 'applied' AND CASE
    WHEN m.order_id IS NULL THEN c.kind = 'adjust_stock' AND c.target = m.sku
    WHEN m.reason = 'placed' THEN c.kind = 'place_order' AND c.id = m.order_id
    ELSE c.kind = 'move_order' AND lower(c.target) = m.order_id::text
END, false)
"""

ADJUSTMENTS = f"""
SELECT c.id AS command_id, c.target AS sku, c.decided_at, count(m.command_id) AS movements
FROM commands AS c LEFT JOIN stock_movements AS m ON m.command_id = c.id AND m.at >= %s
WHERE c.kind = 'adjust_stock' AND c.status = 'applied'
  AND c.decided_at >= greatest(%s, {KEPT_FROM})
GROUP BY c.id, c.target, c.decided_at HAVING count(m.command_id) <> 1
"""

FIRST = ", ".join(f"'order.{status}'" for status in sorted(MOVES["pending"]))
MOVES_OF_ORDERS = f"""
WITH {TOUCHED}, event AS (
    SELECT e.order_id, e.data ->> 'command_id' AS command_id
    FROM touched AS t JOIN order_events AS e ON e.placed_at = t.placed_at AND e.order_id = t.id
    WHERE e.at >= %s AND e.type NOT IN ({FIRST})
), move AS (
    SELECT id::text AS command_id, lower(target) AS order_id FROM commands
    WHERE kind = 'move_order' AND status = 'applied' AND decided_at >= %s
), difference AS (
    SELECT command_id, coalesce(move.order_id, min(event.order_id::text)) AS order_id,
           CASE WHEN move.order_id IS NULL THEN 'is not an applied move' ELSE 'is applied' END
               AS says,
           count(event.order_id) AS events
    FROM move FULL JOIN event USING (command_id)
    GROUP BY command_id, move.order_id
    HAVING count(event.order_id) <> 1 OR min(event.order_id::text) IS DISTINCT FROM move.order_id
)
SELECT * FROM difference WHERE {IS_KEPT}
"""

#: A retry makes them pending, and what fails again is a new letter: so one is open or discarded.
FAILURES = """
WITH named AS (
    SELECT DISTINCT unnest(command_ids) AS id FROM dead_letters WHERE state <> 'retried'
)
SELECT c.id AS command_id, c.kind, c.decided_at
FROM commands AS c LEFT JOIN named USING (id)
WHERE c.status = 'failed' AND c.decided_at >= %s AND named.id IS NULL
"""

LEFT_BEHIND = f"""
SELECT w.command_id, w.order_id, w.moves_to, w.accepted_at, c.status AS outcome, c.decided_at
FROM waiting_moves AS w JOIN commands AS c ON c.id = w.order_id
WHERE c.kind = 'place_order' AND c.status <> 'pending'
  AND greatest(w.since, c.decided_at) < now() - interval '{LEFT_BEHIND_MINUTES} minutes'
"""

#: A move that waits for its order needs no message.
#: AMQP can't be browsed, so a message is missed only where its queue was empty all the time: by the
#: clock's samples, which count what waits, what is delayed and what is with a worker.
PENDING = f"""
WITH waiting AS (
    SELECT c.id, c.kind, greatest(c.decided_at, max(l.settled_at)) AS since
    FROM commands AS c
    LEFT JOIN dead_letters AS l ON l.command_ids @> ARRAY[c.id] AND l.state = 'retried'
    WHERE c.status = 'pending'
      AND NOT EXISTS (SELECT FROM waiting_moves AS m WHERE m.command_id = c.id)
    GROUP BY c.id, c.kind, c.decided_at
), empty AS (
    SELECT queue FROM queue_stats
    WHERE resolution_s = {FINEST_S} AND at > now() - interval '{PENDING_MINUTES} minutes'
    GROUP BY queue
    HAVING count(*) >= {SAMPLES_MIN} AND max(ready + delayed + unacked) = 0
)
SELECT w.id AS command_id, w.kind, w.since,
       string_agg(route.queue, ' and ' ORDER BY route.queue) AS queue
FROM waiting AS w
JOIN (VALUES {", ".join(str(route) for route in QUEUES)}) AS route (kind, queue) USING (kind)
LEFT JOIN empty ON empty.queue = route.queue
WHERE w.since < now() - interval '{PENDING_MINUTES} minutes'
GROUP BY w.id, w.kind, w.since HAVING count(empty.queue) = count(*)
"""

ORDER = "order:{order_id}"
SKU = "sku:{sku}"
COMMAND = "command:{command_id}"

CHECKS: Final = (
    Check(
        "stock", "stock and its movements",
        "stock is the sum of its movements", STOCK,
        "SKU {sku} at {location}: stock says {on_hand} on hand and {allocated} allocated, its "
        "{movements} movements sum to {ledger_on_hand} and {ledger_allocated}; the last one is of "
        "{last_at}. Look at its ledger around the time since when they differ.", SKU,
    ),
    Check(
        "allocation", "allocated units and the lines of confirmed orders",
        "what is allocated is what confirmed orders hold", ALLOCATION,
        "SKU {sku} at {location}: stock says {allocated} allocated, {lines} lines of confirmed "
        "orders hold {units}. Look at its orders that were placed or moved last.", SKU,
    ),
    Check(
        "bounds", "allocated units and units on hand",
        "allocated is never below nothing nor above what is on hand", BOUNDS,
        "SKU {sku} at {location}: {allocated} allocated of {on_hand} on hand. Is the CHECK "
        "constraint of the table stock still there?", SKU,
    ),
    Check(
        "outcomes", "orders and the outcomes of their commands",
        "an order and the command that placed it have the same outcome", OUTCOMES,
        "Order {order_id}: its command is {outcome}, the order is {status}. Look at its timeline "
        "and for its id in the workers' logs.", ORDER,
    ),
    Check(
        "origins", "orders and the commands that placed them",
        "no order without the command that placed it", ORIGINS,
        "Order {order_id}: it is {status}, placed {placed_at}, and the inbox has no command that "
        "placed it then; a command of that id: {command}. Look who else writes to the database.",
        ORDER,
    ),
    Check(
        "timelines", "orders and their timelines",
        "an order's timeline has one decision and only drawn moves, and ends where "
        "the order is", TIMELINES,
        "Order {order_id}: it is {status} at version {version}, its timeline is {path} ({events} "
        "events, the last one is number {last}). Look at the events' times and commands.", ORDER,
    ),
    Check(
        "order_movements", "orders and their movements",
        "the ledger has what an order's events do to its lines",
        ORDER_MOVEMENTS,
        "Order {order_id}, SKU {sku} at {location}, {reason}: its lines and events ask for "
        "{expected_on_hand} on hand and {expected_allocated} allocated, {movements} movements sum "
        "to {on_hand} and {allocated}. Compare its lines, timeline and movements.", ORDER,
    ),
    Check(
        "movement_commands", "movements and their commands",
        "no movement without an applied command that asks for it",
        MOVEMENT_COMMANDS,
        "Movement of SKU {sku} at {location}, {at}, {reason}: {on_hand} on hand, {allocated} "
        "allocated, of order {order_id}; its command {command_id} is {command}. Look who else "
        "writes to the database.", SKU,
    ),
    Check(
        "adjustments", "adjustments and their movements",
        "an applied adjustment of stock has one movement", ADJUSTMENTS,
        "Command {command_id}: the adjustment of SKU {sku} was applied at {decided_at} and has "
        "{movements} movements rather than one. Look at the SKU's ledger at that time.", SKU,
    ),
    Check(
        "moves", "moves and their events",
        "an applied move of an order has one event, and each such event its move",
        MOVES_OF_ORDERS,
        "Order {order_id}: the command {command_id} {says}, and {events} events of the order name "
        "it. Look at the order's timeline.", ORDER,
    ),
    Check(
        "failures", "failed commands and their dead letters",
        "a failed command has a dead letter that is open or discarded", FAILURES,
        "Command {command_id}: {kind} failed at {decided_at}, and no dead letter that could be "
        "retried names it. Look for its id in the workers' logs; its client can send it again "
        "under a new id.", COMMAND,
    ),
    Check(
        "pending", "pending commands and their messages",
        "a pending command has a message", PENDING,
        "Command {command_id}: {kind} is pending since {since}, with nothing in {queue} for "
        f"{PENDING_MINUTES} minutes. Find its dead letter: holdfast failures list --state all "
        "--subject command:{command_id}", COMMAND,
    ),
    Check(
        "waiting_moves", "moves that wait and their orders",
        "no move waits for an order that is decided", LEFT_BEHIND,
        "Order {order_id}: its command is {outcome} since {decided_at}, and its move to "
        "{moves_to}, command {command_id}, accepted {accepted_at}, waits all the same. The clock "
        "applies what was left behind: does it run? Look for the order's id in its log.", ORDER,
    ),
)  # fmt: skip
