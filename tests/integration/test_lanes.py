"""A lane decides in order: through faults, splits, pauses, and consumers that go."""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import unwrap
from itertools import groupby
from threading import Event, Lock
from typing import Any

import msgspec
import peewee
import psycopg2
import pytest
from dramatiq.errors import ConnectionClosed

from actors import ahead
from actors.broker import Broker
from actors.channels import close_in_order
from actors.commands import ROUTES, PutProduct
from actors.controls import controls
from actors.crashes import DEATHS_MAX, DEATHS_OF_A_BATCH, NotAlone
from actors.inventory import put_products
from config import settings
from models import database as db
from models.queries import controls as switches
from models.queries import stats
from tests.conftest import eventually
from tests.integration.test_crashes import died
from tests.integration.workshop import (
    Workshop,
    apply,
    dead_letters,
    declare,
    for_actor,
    message,
    outcomes,
    product,
    put_back,
    rows,
)

LANE = ROUTES[PutProduct].queue


@pytest.fixture(autouse=True)
def quick(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Back-off as in production, only sooner; switches as an operator left them."""
    monkeypatch.setattr("actors.retries.BACKOFF_MIN_MS", 10)
    monkeypatch.setattr("actors.retries.BACKOFF_MAX_MS", 100)
    controls.refresh()
    yield
    workshop.stop_workers()
    db.execute("DELETE FROM paused_queues; DELETE FROM actor_limits")
    controls.refresh()


class Work:
    """An actor's function that notes what it ran and what it decided, in order."""

    def __init__(self, name: str = "work") -> None:
        self.__name__ = name
        self.ran: list[str] = []
        self.decided: list[str] = []
        self.at_once = 0
        self.may_end = Event()
        self.may_end.set()
        #: Errors of a command, one for each time that it runs.
        self.errors: dict[str, Iterator[BaseException]] = {}
        self._running = 0
        self._lock = Lock()

    def __call__(self, commands: msgspec.Raw) -> None:
        batch = msgspec.json.decode(commands)
        with self._lock:
            self._running += 1
            self.at_once = max(self.at_once, self._running)
        try:
            self.ran += batch
            assert self.may_end.wait(60)
            for name in batch:
                for error in self.errors.get(name, ()):
                    raise error
            self.decided += batch
        finally:
            with self._lock:
                self._running -= 1


def times(count: int, error: BaseException) -> Iterator[BaseException]:
    return (error for _ in range(count))


def always(error: BaseException) -> Iterator[BaseException]:
    return times(1_000, error)


def send(workshop: Workshop, actor: Any, *batches: Sequence[Any]) -> list[Any]:
    """A message for each batch, in turn; returns them."""
    messages = [for_actor(actor, *batch) for batch in batches]
    for each in messages:
        workshop.broker.enqueue(each)
    return messages


def consumer_of(worker: Any) -> Any:
    return eventually(lambda: worker.consumers[LANE].consumer)


def first_times(decided: list[str]) -> list[str]:
    """Each once: what is acknowledged on a channel that closes at once may come again."""
    return list(dict.fromkeys(decided))


def names(count: int, prefix: str = "m") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


# --- one at a time, in order ---


def test_messages_are_decided_one_at_a_time_in_the_order_of_delivery(workshop: Workshop) -> None:
    work = Work()
    actor = declare(workshop.broker, work, LANE)
    workshop.start(LANE, threads=4)

    send(workshop, actor, *([name] for name in names(100)))

    workshop.eventually_empty(LANE)
    assert work.decided == names(100)
    assert work.at_once == 1


def test_two_workers_decide_one_at_a_time_and_both_are_well(workshop: Workshop) -> None:
    work = Work()
    brokers = [workshop.new_broker(), workshop.new_broker()]
    actor, _ = [declare(broker, work, LANE) for broker in brokers]
    workers = [workshop.start(LANE, broker=broker, threads=4) for broker in brokers]
    # The one that stands by has a consumer, too
    eventually(lambda: all(consumer_of(worker).attached for worker in workers))

    send(workshop, actor, *([name] for name in names(100)))

    workshop.eventually_empty(LANE)
    assert work.decided == names(100)
    assert work.at_once == 1


def test_a_put_that_waits_for_a_lock_is_not_overtaken_by_the_next_one(workshop: Workshop) -> None:
    # Given two workers that wait for a lock for a moment only, and a product that is locked
    apply(put_products, product("A", unit_price=1))
    first, second = product("A", unit_price=2), product("A", unit_price=3)
    with impatient(), locked("SELECT FROM products WHERE sku = 'A' FOR UPDATE") as release:
        for _ in range(2):
            workshop.start(LANE, broker=workshop.new_broker(), threads=4)
        # When two puts come in turn, and the first has met the lock
        send(workshop, put_products, [first], [second])
        eventually(lambda: rows("SELECT command_id FROM undecided"))
        assert outcomes([first, second]) == [None, None]
        release()

        # Then the second takes effect second
        eventually(lambda: outcomes([first, second]) == ["applied", "applied"])
    assert rows("SELECT unit_price FROM products WHERE sku = 'A'") == [(3,)]
    workshop.eventually_empty(LANE)


@contextmanager
def impatient() -> Iterator[None]:
    """Threads that connect from now on wait for locks for a moment only."""
    db.discard_connection()
    db.configure(msgspec.structs.replace(settings(), lock_timeout_ms=100))
    yield
    db.discard_connection()
    db.configure(settings())


@contextmanager
def locked(statement: str) -> Iterator[Callable[[], None]]:
    """Rows locked by somebody else, until what this gives is called."""
    connection = psycopg2.connect(settings().database_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
        yield connection.rollback
    finally:
        connection.close()


# --- what fails ---


def test_a_fault_that_passes_keeps_its_message_at_the_head(workshop: Workshop) -> None:
    # Given messages that fail, one of them more often than a bug may, and others behind them
    work = Work()
    work.errors["m1"] = times(8, ConnectionClosed("RabbitMQ is away"))
    work.errors["m2"] = times(2, peewee.OperationalError("the server closed the connection"))
    work.errors["m3"] = times(3, ValueError("a bug that comes and goes"))
    actor = declare(workshop.broker, work, LANE)
    send(workshop, actor, *([name] for name in names(6)))

    workshop.start(LANE, threads=4)

    # Then each is tried until it is done, and only then the next one
    workshop.eventually_empty(LANE)
    assert work.decided == names(6)
    assert work.ran == ["m0", *["m1"] * 9, *["m2"] * 3, *["m3"] * 4, "m4", "m5"]
    assert dead_letters() == []


def test_a_batch_with_a_poisonous_command_is_split_in_its_place(workshop: Workshop) -> None:
    work = Work()
    work.errors["poison"] = always(ValueError("a bug"))
    actor = declare(workshop.broker, work, LANE)

    send(workshop, actor, ["a", "b"], ["c", "poison", "d", "e"], ["f"], ["g"])
    workshop.start(LANE, threads=4)

    (letter,) = eventually(dead_letters)
    workshop.eventually_empty(LANE)
    assert letter[:3] == (LANE, "work", "ValueError")
    assert work.decided == list("abcdefg")
    assert work.ran.count("poison") == 1 + 6
    assert work.at_once == 1


def test_a_record_that_can_not_be_written_keeps_its_message_at_the_head(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.retries.RECORD_MIN_MS", 10)
    work, tried = Work(), []
    work.errors["poison"] = always(ValueError("a bug"))
    actor = declare(workshop.broker, work, LANE)

    def unwritable(*_: Any) -> None:
        tried.append(list(work.decided))
        raise OSError("no database")

    with monkeypatch.context() as patch:
        patch.setattr("actors.waiting_moves.dead_letters.record", unwritable)
        send(workshop, actor, ["poison"], ["next"])
        workshop.start(LANE)
        eventually(lambda: len(tried) >= 3)
    eventually(dead_letters)
    workshop.eventually_empty(LANE)

    assert tried[-1] == []
    assert work.decided == ["next"]


def test_what_an_operator_puts_back_is_decided_and_leaves_the_lane_going(
    workshop: Workshop,
) -> None:
    work = Work()
    work.errors["poison"] = times(6, ValueError("a bug, mended meanwhile"))
    actor = declare(workshop.broker, work, LANE)
    workshop.start(LANE, threads=4)
    send(workshop, actor, ["poison"], ["next"])
    eventually(dead_letters)
    eventually(lambda: work.decided == ["next"])
    ((letter,),) = rows("SELECT id FROM dead_letters")

    assert put_back(letter) == "applied"

    eventually(lambda: work.decided == ["next", "poison"])
    workshop.eventually_empty(LANE)


def test_what_can_not_be_read_does_not_overtake_what_is_in_hand(workshop: Workshop) -> None:
    work = Work()
    work.may_end.clear()
    actor = declare(workshop.broker, work, LANE)
    workshop.publish(
        LANE, for_actor(actor, "a").encode(), b"no message at all", for_actor(actor, "b").encode()
    )
    worker = workshop.start(LANE)
    eventually(lambda: work.ran == ["a"])
    eventually(lambda: len(consumer_of(worker)._deliveries) == 3)
    assert dead_letters() == []

    work.may_end.set()

    (letter,) = eventually(dead_letters)
    workshop.eventually_empty(LANE)
    assert letter[:2] == (LANE, "")
    assert work.decided == ["a", "b"]


# --- pauses and limits ---


def pause() -> None:
    switches.pause(LANE, "a test", "Ada")
    controls.refresh()


def resume() -> None:
    switches.resume(LANE)
    controls.refresh()


def test_a_paused_lane_gives_all_back_in_order_and_what_is_in_hand_once_it_is_done(
    workshop: Workshop,
) -> None:
    work = Work()
    work.may_end.clear()
    actor = declare(workshop.broker, work, LANE)
    send(workshop, actor, *([name] for name in names(20)))
    worker = workshop.start(LANE, threads=4)
    eventually(lambda: work.ran == ["m0"] and len(consumer_of(worker).held) == 20)

    pause()
    work.may_end.set()

    eventually(lambda: workshop.messages_in(LANE) >= 19)
    assert not consumer_of(worker).held
    assert work.decided == ["m0"]
    resume()
    workshop.eventually_empty(LANE)
    assert first_times(work.decided) == names(20)


def test_a_lane_is_paused_while_its_message_waits_for_another_try(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.retries.BACKOFF_MIN_MS", 60_000)
    monkeypatch.setattr("actors.retries.BACKOFF_MAX_MS", 120_000)
    work = Work()
    work.errors["m0"] = times(1, ValueError("once"))
    actor = declare(workshop.broker, work, LANE)
    send(workshop, actor, *([name] for name in names(5)))
    worker = workshop.start(LANE, threads=4)
    eventually(lambda: work.ran == ["m0"] and consumer_of(worker)._deliveries[0].due)

    pause()

    eventually(lambda: workshop.messages_in(LANE) == 5)
    resume()
    workshop.eventually_empty(LANE)
    assert work.decided == names(5)


def test_heartbeats_go_on_while_a_message_waits_for_another_try(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a connection that is given up after two seconds of silence, and a pause of four
    monkeypatch.setattr("actors.retries.BACKOFF_MIN_MS", 4_000)
    monkeypatch.setattr("actors.retries.BACKOFF_MAX_MS", 8_000)
    broker = workshop.new_broker(heartbeat_s=1)
    work = Work()
    work.errors["m0"] = times(1, ValueError("once"))
    actor = declare(broker, work, LANE)
    worker = workshop.start(LANE, broker=broker)
    consumer = consumer_of(worker)

    send(workshop, actor, *([name] for name in names(3)))

    eventually(lambda: work.decided == names(3))
    assert consumer_of(worker) is consumer
    workshop.eventually_empty(LANE)


def test_a_rate_limit_keeps_the_order(workshop: Workshop) -> None:
    work = Work()
    actor = declare(workshop.broker, work, LANE, rate_limit="5/s")
    send(workshop, actor, *([name] for name in names(12)))
    workshop.start(LANE, threads=4)

    workshop.eventually_empty(LANE)

    assert work.decided == names(12)


# --- suspects ---


def comes_again(workshop: Workshop, *messages: Any) -> None:
    """Put messages onto the lane, marked as what was delivered before."""
    workshop.publish(LANE, *(each.encode() for each in messages))
    with workshop.connect() as connection:
        channel = connection.channel()
        stream = channel.consume(LANE)
        for _ in messages:
            next(stream)
        close_in_order(channel)


def test_a_batch_that_killed_its_process_is_split_and_a_single_is_given_up_in_their_places(
    workshop: Workshop,
) -> None:
    work = Work()
    actor = declare(workshop.broker, work, LANE)
    first, batch, deadly, last = (
        for_actor(actor, *each) for each in (["a"], ["b", "c", "d"], ["deadly"], ["e"])
    )
    died(batch, alone=DEATHS_OF_A_BATCH)
    died(deadly, alone=DEATHS_MAX)
    comes_again(workshop, first, batch, deadly, last)

    workshop.start(LANE, threads=4)

    (letter,) = eventually(dead_letters)
    workshop.eventually_empty(LANE)
    assert letter[2] == "WorkerDied"
    assert work.decided == list("abcde")


def test_a_command_of_a_batch_that_killed_its_process_is_known_when_the_batch_comes_again(
    workshop: Workshop,
) -> None:
    # Given a batch that killed its process, was split, and whose second command did so, too
    from actors.retries import _singles  # noqa: PLC0415 - what a split gives

    work = Work()
    actor = declare(workshop.broker, work, LANE)
    batch = for_actor(actor, "a", "deadly", "b")
    died(batch, alone=DEATHS_OF_A_BATCH)
    died(_singles(batch)[1], alone=DEATHS_MAX)
    comes_again(workshop, batch, for_actor(actor, "c"))

    workshop.start(LANE, threads=4)

    (letter,) = eventually(dead_letters)
    workshop.eventually_empty(LANE)
    assert letter[2] == "WorkerDied"
    assert work.decided == ["a", "b", "c"]


def test_a_suspect_that_can_not_run_alone_goes_to_another_process_with_all_behind_it(
    workshop: Workshop,
) -> None:
    # Given a lane whose active worker can run nothing alone, and another worker
    hangs, works = Work(), Work()
    hangs.errors = {name: always(NotAlone(30)) for name in names(10)}
    busy, free = workshop.new_broker(), workshop.new_broker()
    actor = declare(busy, hangs, LANE)
    declare(free, works, LANE)
    worker = workshop.start(LANE, broker=busy)
    eventually(lambda: consumer_of(worker).attached)
    other = workshop.start(LANE, broker=free)
    eventually(lambda: consumer_of(other).attached)

    send(workshop, actor, *([name] for name in names(10)))

    eventually(lambda: works.decided == names(10))
    assert hangs.ran
    assert hangs.decided == []
    workshop.eventually_empty(LANE)


# --- consumers that go ---


@pytest.mark.parametrize("how", ["the connection is cut", "the channel is closed", "cancelled"])
def test_a_consumer_that_goes_with_a_message_in_hand_hands_on_the_order(
    workshop: Workshop, how: str
) -> None:
    # Given two workers, and the active one is at the first of many puts, waiting for a lock
    apply(put_products, product("A", unit_price=1))
    puts = [product("A", unit_price=price) for price in range(2, 42)]
    active = workshop.start(LANE, broker=broker_of_a_process(workshop), threads=4)
    eventually(lambda: consumer_of(active).attached)
    workshop.start(LANE, broker=broker_of_a_process(workshop), threads=4)
    with locked("SELECT FROM products WHERE sku = 'A' FOR UPDATE") as release:
        for put in puts:
            workshop.broker.enqueue(message(LANE, "put_here", put))
        consumer = consumer_of(active)
        eventually(lambda: len(consumer.held) == len(puts) and waiting_for_a_lock() == 1)

        # When its consumer goes, then the other one begins with the same message
        go(consumer, how)
        eventually(lambda: waiting_for_a_lock() == 2)
        assert outcomes(puts) == [None] * len(puts)
        release()

    # and each took effect once, in order
    workshop.eventually_empty(LANE)
    assert outcomes(puts) == ["applied"] * len(puts)
    assert rows("SELECT unit_price FROM products WHERE sku = 'A'") == [(41,)]


def put_here(commands: msgspec.Raw) -> None:
    """`put_products` that shares nothing with those of other brokers in this process."""
    unwrap(put_products.fn)(commands)


def broker_of_a_process(workshop: Workshop) -> Broker:
    broker = workshop.new_broker()
    declare(broker, put_here, LANE)
    return broker


def waiting_for_a_lock() -> int:
    found = rows(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return int(found[0][0])


def go(consumer: Any, how: str) -> None:
    if how == "the connection is cut":
        consumer.connection._impl._transport._sock.shutdown(socket.SHUT_RDWR)
    elif how == "cancelled":
        consumer.connection.add_callback_threadsafe(lambda: consumer._note_cancel(None))
    else:
        consumer.connection.add_callback_threadsafe(lambda: close_in_order(consumer.channel))


def test_an_idle_lane_begins_anew_and_nothing_is_lost_or_overtaken(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given two workers whose consumers begin anew whenever they are idle
    monkeypatch.setattr("actors.attachment.IDLE_MAX_S", 0.0)
    work = Work()
    brokers = [workshop.new_broker(), workshop.new_broker()]
    actor, _ = [declare(broker, work, LANE) for broker in brokers]
    workers = [workshop.start(LANE, broker=broker, threads=4) for broker in brokers]
    channels = [consumer_of(worker).channel for worker in workers]

    for name in names(60):
        send(workshop, actor, [name])

    workshop.eventually_empty(LANE)
    # An acknowledgement that RabbitMQ has not written down is lost with its channel: that message
    # comes once more, before the next one.
    assert [name for name, _ in groupby(work.decided)] == names(60)
    assert work.at_once == 1
    eventually(
        lambda: all(
            consumer_of(worker).channel is not channel
            for worker, channel in zip(workers, channels, strict=True)
        )
    )


# --- what RabbitMQ does ---


def bodies(channel: Any, count: int) -> list[bytes]:
    """So many messages from a consumer that acknowledges none."""
    stream = channel.consume(LANE, inactivity_timeout=20)
    return [next(stream)[2] for _ in range(count)]


@pytest.mark.parametrize("how", ["closed", "cut"])
def test_what_a_consumer_held_goes_to_the_next_one_in_order(workshop: Workshop, how: str) -> None:
    sent = [str(number).encode() for number in range(30)]
    workshop.broker.declare_queue(LANE, ensure=True)
    first, second = workshop.connect(), workshop.connect()
    channel = first.channel()
    channel.basic_qos(prefetch_count=10)
    workshop.publish(LANE, *sent)
    assert bodies(channel, 10) == sent[:10]
    other = second.channel()
    # It stands by: nothing comes
    assert next(other.consume(LANE, inactivity_timeout=0.5))[2] is None

    if how == "closed":
        close_in_order(channel)
    else:
        first._impl._transport._sock.shutdown(socket.SHUT_RDWR)

    assert bodies(other, 30) == sent
    second.close()


def test_what_is_put_back_by_itself_comes_after_what_was_delivered_behind_it(
    workshop: Workshop,
) -> None:
    """Why nothing of a lane is nacked: those behind it have overtaken it."""
    sent = [str(number).encode() for number in range(6)]
    workshop.publish(LANE, *sent)
    with workshop.connect() as connection:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=3)
        stream = channel.consume(LANE, inactivity_timeout=20)
        tags = [next(stream)[0].delivery_tag for _ in range(3)]

        channel.basic_nack(tags[0], requeue=True)

        # It is the next one, but 1 and 2 are delivered
        assert next(stream)[2] == sent[0]
        close_in_order(channel)
    # and it is behind them when all goes back
    with workshop.connect() as connection:
        channel = connection.channel()
        assert bodies(channel, 6) == [sent[1], sent[2], sent[0], *sent[3:]]


# --- looking ahead ---


class Transactions:
    """An actor of products that decides as many as it can together, and notes how."""

    __name__ = "transactions"

    def __init__(self) -> None:
        self.tried: list[list[int]] = []
        self.done: list[list[int]] = []
        self.begun = Event()
        self.may_begin = Event()
        self.refuses: set[int] = set()

    def __call__(self, commands: msgspec.Raw) -> None:
        self.begun.set()
        assert self.may_begin.wait(60)
        ahead.apply(PutProduct, commands, self._decide)

    def _decide(self, commands: Sequence[PutProduct]) -> None:
        prices = [command.unit_price for command in commands]
        self.tried.append(prices)
        if self.refuses & set(prices):
            raise ValueError(f"not {self.refuses}")
        self.done.append(prices)


def all_waiting(workshop: Workshop, work: Transactions, *messages: Any) -> None:
    """A worker that is at the first of these and has all the others."""
    for each in messages:
        workshop.broker.enqueue(each)
    worker = workshop.start(LANE, threads=4)
    eventually(lambda: work.begun.is_set() and len(consumer_of(worker).held) == len(messages))


def puts(actor: Any, *prices: int) -> Any:
    return for_actor(actor, *(product("A", unit_price=price) for price in prices))


def test_what_waits_behind_is_decided_in_the_same_transaction_and_counted_once(
    workshop: Workshop,
) -> None:
    work = Transactions()
    actor = declare(workshop.broker, work, LANE)
    all_waiting(workshop, work, *(puts(actor, price, price + 1) for price in range(0, 20, 2)))

    work.may_begin.set()

    workshop.eventually_empty(LANE)
    assert work.tried == [list(range(20))]
    eventually(lambda: handled("transactions") == 10)


def handled(actor: str) -> int:
    """Messages, as workers have reported them."""
    return sum(figures.handled for figures in stats.recent(120) if figures.actor == actor)


def test_a_neighbour_that_fails_costs_the_others_nothing_but_a_transaction(
    workshop: Workshop,
) -> None:
    work = Transactions()
    work.refuses = {3}
    actor = declare(workshop.broker, work, LANE)
    all_waiting(workshop, work, *(puts(actor, price) for price in range(6)))

    work.may_begin.set()

    eventually(dead_letters)
    workshop.eventually_empty(LANE)
    # All together, then each by itself, the poisonous one as often as a bug is tried
    assert work.tried == [[0, 1, 2, 3, 4, 5], [0], [1], [2], *[[3]] * 6, [4], [5]]
    assert work.done == [[0], [1], [2], [4], [5]]


def test_nothing_looks_past_another_actor_what_came_again_or_what_can_not_be_read(
    workshop: Workshop,
) -> None:
    work, other = Transactions(), Work("other")
    actor, between = declare(workshop.broker, work, LANE), declare(workshop.broker, other, LANE)
    comes_again(workshop, puts(actor, 0), puts(actor, 1))
    worker = workshop.start(LANE, threads=4)
    later = [
        puts(actor, 2).encode(), puts(actor, 3).encode(), for_actor(between, "x").encode(),
        puts(actor, 4).encode(), puts(actor, 5).encode(), b"no message",
        puts(actor, 6).encode(), puts(actor, 7).encode(), for_actor(actor, {"no": "put"}).encode(),
        puts(actor, 8).encode(),
    ]  # fmt: skip
    workshop.publish(LANE, *later)
    eventually(lambda: len(consumer_of(worker)._deliveries) == 2 + len(later))

    work.may_begin.set()

    eventually(lambda: len(dead_letters()) == 2)
    workshop.eventually_empty(LANE)
    assert work.tried == [[0], [1], [2, 3], [4, 5], [6, 7], [8]]
    assert other.decided == ["x"]


def test_a_limited_actor_decides_message_by_message(workshop: Workshop) -> None:
    work = Transactions()
    actor = declare(workshop.broker, work, LANE)
    switches.set_limit("transactions", "1000/s", "Ada")
    controls.refresh()
    all_waiting(workshop, work, *(puts(actor, price) for price in range(5)))

    work.may_begin.set()

    workshop.eventually_empty(LANE)
    assert work.tried == [[0], [1], [2], [3], [4]]


def test_a_transaction_holds_no_more_commands_than_it_may(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = msgspec.structs.replace(settings(), transaction_commands_max=5)
    monkeypatch.setattr("actors.ahead.settings", lambda: few)
    work = Transactions()
    actor = declare(workshop.broker, work, LANE)
    all_waiting(workshop, work, *(puts(actor, *prices) for prices in ([0, 1], [2, 3], [4, 5], [6])))

    work.may_begin.set()

    workshop.eventually_empty(LANE)
    assert work.tried == [[0, 1, 2, 3], [4, 5, 6]]
