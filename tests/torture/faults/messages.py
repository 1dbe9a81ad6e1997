"""Messages that come again, and those that should never have come."""

import contextlib
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import msgspec
import pika
import pika.exceptions
from dramatiq.message import Message

from actors.commands import QUEUES, ROUTES, Line, PlaceOrder, encode, join
from models.rules.signing import Signer, derive_key
from tests.torture.chains import Chain, named
from tests.torture.clients import a_move, a_product, an_order
from tests.torture.faults.scene import ORDERS, NotFiredError, Scene, channel_of, fault
from tests.torture.load import HOT, SKUS
from tests.torture.rig import (
    NAME,
    Rig,
)
from tests.torture.saboteur import KILLER

COPY: Final = "copy"
CURSED: Final = "cursed"
#: A bug's stand-in: orders of some customers can't be written.
CURSE: Final = f"""
CREATE FUNCTION curse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = 'cursed: ' || NEW.customer_id;
END $$;
CREATE TRIGGER curse BEFORE INSERT ON orders FOR EACH ROW
WHEN (starts_with(NEW.customer_id, '{CURSED}') AND NEW.status <> 'failed')
EXECUTE FUNCTION curse();
"""
HEXED: Final = "hexed"
#: As the curse, until it is lifted: some products can't be put, and some orders not be returned.
HEX: Final = f"""
CREATE FUNCTION hex_product() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = '{HEXED}: ' || NEW.sku;
END $$;
CREATE FUNCTION hex_return() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM orders WHERE placed_at = NEW.placed_at AND id = NEW.order_id
               AND starts_with(customer_id, '{HEXED}')) THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = '{HEXED}: ' || NEW.order_id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER hex BEFORE INSERT ON products FOR EACH ROW
WHEN (starts_with(NEW.name, '{HEXED}')) EXECUTE FUNCTION hex_product();
CREATE TRIGGER hex BEFORE INSERT ON order_events FOR EACH ROW
WHEN (NEW.type = 'order.returned') EXECUTE FUNCTION hex_return();
"""
LIFT: Final = """
DROP TRIGGER hex ON products;
DROP TRIGGER hex ON order_events;
DROP FUNCTION hex_product, hex_return;
"""
FORGERIES: Final = 2
NO_MESSAGES: Final = (
    b"",
    b"\x00\xff\xfe",
    b"{" * 2_000,
    b'{"queue_name": "holdfast.orders", "options": null}',
    b'{"queue_name":"holdfast.orders","actor_name":"place_orders","args":[],'
    b'"kwargs":{"commands":[{"id":"\\ud800\\u0000"}]},"options":{"throws":[[1]],"max_retries":"9"},'
    b'"message_id":"m","message_timestamp":0}',
)


@fault("duplicate-messages")
def duplicate_messages(scene: Scene) -> str:
    """Every message comes two to five times: most copies at once, some later."""
    later: list[tuple[str, bytes]] = []
    scene.rig.rabbitmq.ctl("trace_on", "-p", NAME)
    try:
        with channel_of(scene.rig) as channel:
            channel.confirm_delivery()
            queue = channel.queue_declare("", exclusive=True).method.queue
            channel.queue_bind(queue, "amq.rabbitmq.trace", "publish.#")
            ends_s = scene.history.now_s() + 2.5
            while scene.history.now_s() < ends_s:
                got, properties, body = channel.basic_get(queue, auto_ack=True)
                if got is None:
                    scene.wait(0.01)
                elif (to := _original_for(properties.headers)) is not None:
                    at_once, postponed = scene.random.randint(0, 2), scene.random.randint(1, 2)
                    publish_copies(channel, [(to, body)] * at_once)
                    later += [(to, body)] * postponed
            publish_copies(channel, later[::2])
    finally:
        scene.rig.rabbitmq.ctl("trace_off", "-p", NAME)
    scene.postponed += later[1::2]
    if not later:
        raise NotFiredError("no message was seen")
    return f"{len(later)} messages"


def _original_for(traced: dict[str, Any]) -> str | None:
    """The queue of a message that RabbitMQ has traced, None of a copy and of what is not ours."""
    (queue,) = traced["routing_keys"]
    is_copy = traced["properties"].get("message_id") == COPY
    return queue if queue in QUEUES and not is_copy else None


def publish_copies(channel: Any, copies: list[tuple[str, bytes]]) -> None:
    """Publish messages again. A queue that is full may refuse them: nobody was promised any."""
    for queue, body in copies:
        # What is full refuses: nobody was promised a copy.
        with contextlib.suppress(pika.exceptions.NackError):
            channel.basic_publish("", queue, body, pika.BasicProperties(message_id=COPY))


@fault("poison-malformed")
def poison_malformed(scene: Scene) -> str:
    """What is no message of ours, on every queue: NULs, surrogates, odd options, no JSON at all."""
    with channel_of(scene.rig) as channel:
        channel.confirm_delivery()
        for queue in QUEUES:
            for body in NO_MESSAGES:
                channel.basic_publish("", queue, body, mandatory=True)
        for body in _forgeries():
            channel.basic_publish("", ORDERS, body, mandatory=True)
    sent = len(QUEUES) * len(NO_MESSAGES) + FORGERIES
    scene.malformed += sent
    scene.fires(lambda: _letters(scene.rig) >= scene.malformed, "all are on record", 40.0)
    return f"{sent} messages"


def _forgeries() -> list[bytes]:
    """An order that nobody asked for, as somebody would send it who may publish but has no key:

    without a signature, and signed by a key of one's own.
    """
    order = PlaceOrder(str(uuid4()), datetime.now(UTC), "forger", [Line(HOT, 1)], {})
    message: Message[Any] = Message(
        queue_name=ORDERS, actor_name=ROUTES[PlaceOrder].actor, args=(),
        kwargs={"commands": join([encode(order)])}, options={},
    )  # fmt: skip
    plain = msgspec.json.encode(message.asdict())
    return [plain, Signer([derive_key("a-secret-that-the-service-does-not-have")]).sign(plain)]


def _letters(rig: Rig) -> int:
    return int(rig.sql("SELECT count(*) FROM dead_letters WHERE actor = ''")[0][0])


@fault("poison-raises")
def poison_raises(scene: Scene) -> str:
    """Orders that always fail, in the middle of others; they are retried through what follows."""
    scene.doomed += scene.load.place(*[scene.name(CURSED) for _ in range(3)])
    return "3 orders"


@fault("poison-put-back")
def poison_put_back(scene: Scene) -> str:
    """In a chain a change can only fail; what comes after it takes effect, and then an operator
    puts it back: too late."""
    product, order = scene.name("LATE"), scene.name(HEXED)
    scene.rig.sql(HEX)
    try:
        chained = scene.load.fire(
            named(_hexed_return(order), order), named(_hexed_product(scene, product), product)
        )
        failed = [ids[HEXED_LINK] for ids in chained]
        scene.fires(lambda: scene.rig.sql(OPEN, failed) == [(0,)], "both are decided", 60.0)
    finally:
        scene.rig.sql(LIFT)
    if lucky := scene.not_failed(failed):
        raise NotFiredError(f"{lucky} did not fail")
    letters = [id_ for (id_,) in scene.rig.sql(LETTERS_OF, failed)]
    scene.operate("failures/retry", scope="selected", ids=letters)
    scene.fires(lambda: len(scene.not_failed(failed)) == len(failed), "both are put back")
    scene.fires(lambda: scene.rig.sql(OPEN, failed) == [(0,)], "both are decided again")
    return f"{len(letters)} put back"


#: Which change of the chains below fails.
HEXED_LINK: Final = 2
LETTERS_OF: Final = "SELECT id FROM dead_letters WHERE command_ids && %s::uuid[]"
#: How many of two commands are not decided: one that was never seen is not in the inbox.
OPEN: Final = """
SELECT 2 - count(*) FROM commands WHERE id = ANY (%s::uuid[]) AND status <> 'pending'
"""


def _hexed_product(scene: Scene, sku: str) -> Chain:
    yield a_product(sku, 1)
    yield a_product(sku, 2)
    hexed = yield a_product(sku, 3, name=HEXED)
    # Of several that are decided together, only the last is ever written.
    scene.fires(lambda: not scene.not_failed(hexed.ids), f"{hexed.ids} failed", 60.0)
    yield a_product(sku, 4)


def _hexed_return(customer: str) -> Chain:
    placed = yield an_order(customer, {SKUS[1]: 1})
    for to in ("shipped", "returned", "delivered"):
        yield a_move(placed.ids[0], to)


@fault("poison-kills")
def poison_kills(scene: Scene) -> str:
    """An order that kills whoever decides it."""
    ids = scene.load.place(scene.name(KILLER))
    scene.fires(lambda: not scene.not_failed(ids), "it failed", 90.0)
    return "1 order"


#: Whatever records a failure in the database.
RECORDS: Final = ("dead_letters", "undecided")
NOT_RECORDED: Final = "no failure is recorded now, in "
REFUSE: Final = f"""
CREATE FUNCTION refuse_record() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING MESSAGE = '{NOT_RECORDED}' || TG_TABLE_NAME;
END $$;
""" + "".join(
    f"CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_record();"
    for table in RECORDS
)
TAKE_AGAIN: Final = (
    "".join(f"DROP TRIGGER refuse ON {table};" for table in RECORDS)
    + "DROP FUNCTION refuse_record();"
)
#: What workers say of messages that come back, by their last reports.
CAME_BACK: Final = """
SELECT p->>'message_id', ((p->>'last_ms')::bigint - (p->>'first_ms')::bigint) / 1000.0
FROM workers, jsonb_each(holds) AS h (queue, held), jsonb_array_elements(held->'put_back') AS p
WHERE seen_at > now() - interval '5 s' AND strpos(p->>'error', %s) > 0
"""
#: How soon a worker says that a failure could not be recorded: a report takes half a second.
SHOWN_S_MAX: Final = 10.0
#: A long run goes on until the alert's condition has to be met.
ALERT_S: Final = 60.0


@fault("poison-unrecordable")
def poison_unrecordable(scene: Scene) -> str:
    """An order that can only fail, while the database takes no record of any failure."""
    scene.rig.sql(REFUSE)
    try:
        ids = scene.load.place(scene.name(CURSED))
        scene.doomed += ids
        refused = f"{NOT_RECORDED}{RECORDS[0]}"
        scene.fires(
            lambda: refused in scene.rig.postgres.log.read_text(errors="replace"),
            "a record was refused", 60.0,
        )  # fmt: skip
        long_s = ALERT_S if scene.series > 1 else 0.0
        if not _is_shown(scene, long_s):
            scene.unseen.append(f"order {ids[0]}, whose failure could not be recorded")
        if not scene.load.probe():
            scene.broken.append(f"neighbours of order {ids[0]} were not decided")
    finally:
        scene.rig.sql(TAKE_AGAIN)
    return "1 order"


def _is_shown(scene: Scene, for_s: float) -> bool:
    """Whether a worker reports a message that has come back for so long, soon after it has."""
    for _ in range(int((for_s + SHOWN_S_MAX) / 0.2)):
        if any(lasted_s > for_s for _, lasted_s in scene.rig.sql(CAME_BACK, NOT_RECORDED)):
            return True
        scene.wait(0.2)
    return False
