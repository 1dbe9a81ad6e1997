"""The simulation (SimPy): an order's way from client to commit, with the real waiting and batching.

A web process is an event loop that publishes one batch at a time; a worker one interpreter that
makes one transaction at a time, from all that it has fetched once a slot is granted
(web/batcher.py, actors/placing.py). Of all workers so many at once have a slot. The last message of
a transaction locks its stock rows in SKU order, changes them and commits; commits share flushes.
Batches are not a parameter: they come out.

Two modes: `shared_cores` puts everything, the load generator too, on one machine, as measured;
without it each web and worker process has a core of its own, and PostgreSQL `database_cores`.
"""

import itertools
import math
import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import simpy

from bench.scale.costs import Costs
from bench.scale.parts import QUANTUM_S, Cpu, Disk, Level, RowLocks, Steps

MESSAGE_ORDERS_MAX = 500
#: As web/decisions.py pauses between polls.
POLL_S = 0.003
#: Of a request's work in the web process, what comes after the confirm (docs/benchmarks.md).
ANSWER_SHARE = 0.35
#: Of a message's work in the web and the worker process, what is done before it goes on: a guess.
BEFORE_SHARE = 0.5
#: After so many requests the effects of an event loop are seen by others.
TURN = 16


@dataclass(frozen=True)
class Setup:
    """The system. queues: of orders, each a process of RabbitMQ's with a core of its own.

    prefetch: messages that a worker fetches, and so has for one transaction; slots: transactions at
    once, over all workers.
    speed: of the shared cores, what is left to us beside kernel, hypervisor and strangers.
    rtt_s: a round trip between machines, beside what was measured over the loopback.
    """

    web: int = 1
    workers: int = 1
    prefetch: int = 64
    slots: int = 8
    shared_cores: int | None = None
    speed: float = 1.0
    database_cores: int = 16
    queues: int = 1
    transaction_orders_max: int = 1000
    rtt_s: float = 0.0


@dataclass(frozen=True)
class Load:
    """What is posted. rate: orders a second in an open loop, 0 for a closed one.

    until_decided: a client posts its next order when its last one is decided, not when accepted.
    hot: every order has the same SKU in its first line; stock: the units of that, None for as many
    as are asked for. probes: orders a second whose clients wait.
    """

    connections: int = 256
    rate: float = 0.0
    lines: int = 2
    skus: int = 1000
    hot: bool = False
    batch: int = 1
    seconds: float = 2.0
    warm_s: float = 0.0
    stock: int | None = None
    until_decided: bool = False
    probes: float = 0.0


@dataclass
class Outcome:
    """What came out, after the warm-up. busy: share of what each part could do at most.

    waits_ms: from each order's POST to its commit; begun_ms: from when the front door had read it
    to its transaction's begin; seen_ms: of probes, from POST to the client's answer.
    """

    posted: int = 0
    accepted: int = 0
    decided: int = 0
    seconds: float = 0.0
    messages: int = 0
    transactions: int = 0
    mean_in_system: float = 0.0
    begun_ms: list[float] = field(default_factory=list)
    waits_ms: list[float] = field(default_factory=list)
    seen_ms: list[float] = field(default_factory=list)
    busy: dict[str, float] = field(default_factory=dict)

    @property
    def orders_per_s(self) -> float:
        return self.decided / self.seconds if self.seconds else 0.0


def quantile(values: Sequence[float], fraction: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * fraction))] if ordered else 0.0


@dataclass
class Request:
    """A POST under way. taken: when the front door had read it; seen: what a client that waits for
    the decision waits for."""

    posted: float
    orders: int
    web: "Web"
    seen: simpy.Event | None = None
    taken: float = 0.0
    decided: bool = False


@dataclass
class Message:
    requests: list[Request]
    orders: int


class Web:
    """A web process: what came in, what gathers for the next message, what is confirmed."""

    def __init__(self, env: simpy.Environment, cpu: Cpu) -> None:
        self.cpu = cpu
        self.arrived: list[Request] = []
        self.gathered: list[Request] = []
        self.confirmed: list[Request] = []
        self.flying = False
        self.polled: list[Request] = []
        self.polling = False
        self.wake = env.event()
        self.turned = env.event()
        self.called = False


class Worker:
    """A worker process: messages fetched, in the hands of threads, ready for a transaction."""

    def __init__(self, env: simpy.Environment, cpu: Cpu, backend: Cpu) -> None:
        self.cpu = cpu
        self.backend = backend
        self.fetched: deque[Message] = deque()
        self.ready: list[Message] = []
        self.held = 0
        self.in_hand = 0
        self.fetch = env.event()
        self.commit = env.event()


def wake(event: simpy.Event) -> None:
    """Tell who waits for this event, if it was not told yet."""
    if not event.triggered:
        event.succeed()


class Simulation:
    """One run; the same seed gives the same run."""

    def __init__(self, costs: Costs, setup: Setup, load: Load, seed: int = 1) -> None:
        self.env = env = simpy.Environment()
        self.costs, self.setup, self.load = costs, setup, load
        self.random = random.Random(seed)
        shared = simpy.Resource(env, setup.shared_cores) if setup.shared_cores else None
        self.cores = shared
        database = shared or simpy.Resource(env, setup.database_cores)

        def cpu(cores: simpy.Resource | None = shared, *, serial: bool = True) -> Cpu:
            switch_s = QUANTUM_S if shared else 0.0
            return Cpu(env, cores, serial=serial, speed=setup.speed, switch_s=switch_s)

        self.webs = [Web(env, cpu()) for _ in range(setup.web)]
        self.workers = [
            Worker(env, cpu(), cpu(database, serial=False)) for _ in range(setup.workers)
        ]
        self.reader = cpu(database, serial=False)
        self.queues = [cpu(serial=shared is None) for _ in range(setup.queues)]
        self.generator = cpu() if shared else None
        self.prober = cpu()
        self.beside = cpu(serial=False)
        self.locks = RowLocks(env)
        self.slots = simpy.Resource(env, setup.slots)
        self.units = math.inf if load.stock is None else load.stock
        self.disk = Disk(env, lambda n: costs.flush_s + costs.flush_order_s * n)
        self.backlog: deque[Message] = deque()
        self.next_worker = itertools.cycle(range(setup.workers))
        self.answered: list[Request] = []
        self.answered_wake = env.event()
        self.outcome = Outcome()
        self.in_system, self.in_transaction, self.in_wait = Level(env), Level(env), Level(env)
        self._began, self._stop = 0.0, load.warm_s + load.seconds
        self._drained = env.event()

    # --- running ---

    def run(self) -> Outcome:
        """With a warm-up: what is decided in `seconds` after it. Without: until all is decided."""
        self._start()
        if self.load.warm_s:
            self.env.run(until=self.load.warm_s)
            self._reset()
            self.env.run(until=self._stop)
        else:
            self.env.run(until=self._stop)
            if self.in_system.now:
                self.env.run(until=self._drained)
        return self._close()

    def run_transactions(self, orders: int) -> Outcome:
        """Workers alone, each with one transaction of so many orders after the other."""

        def work(worker: Worker) -> Steps:
            while self.env.now < self._stop:
                yield from self._transaction(worker, orders)
                self._decided(orders)

        for worker in self.workers:
            self.env.process(work(worker))
        self.env.run(until=self._stop)
        return self._close()

    def _start(self) -> None:
        env, load = self.env, self.load
        for web in self.webs:
            env.process(self._web(web))
        for worker in self.workers:
            env.process(self._fetching(worker))
            env.process(self._committing(worker))
        if self.cores is not None:
            env.process(self._background())
            env.process(self._generating())
        if load.rate:
            env.process(self._arrivals())
        else:
            for number in range(load.connections):
                self._post(Request(0.0, load.batch, self.webs[number % len(self.webs)]))
        if load.probes:
            env.process(self._probing())

    def _reset(self) -> None:
        self.outcome = Outcome()
        self._began = self.env.now
        for level in (self.in_system, self.in_transaction, self.in_wait):
            level.reset()
        for cpu in self._cpus():
            cpu.busy_s = 0.0
        self.disk.busy_s = 0.0

    def _cpus(self) -> list[Cpu]:
        workers = [cpu for worker in self.workers for cpu in (worker.cpu, worker.backend)]
        generator = [self.generator] if self.generator else []
        webs = [web.cpu for web in self.webs]
        others = [self.reader, self.beside, self.prober]
        return [*webs, *workers, *self.queues, *others, *generator]

    def _close(self) -> Outcome:
        out, seconds = self.outcome, self.env.now - self._began
        out.seconds = seconds
        out.mean_in_system = self.in_system.mean()
        database = sum(worker.backend.busy_s for worker in self.workers) + self.reader.busy_s
        cores = self.setup.shared_cores or self.setup.database_cores
        at_once = min(len(self.workers), self.setup.slots)
        out.busy = {
            "web": max(web.cpu.busy_s for web in self.webs) / seconds,
            "queue": max(queue.busy_s for queue in self.queues) / seconds,
            "worker": max(worker.cpu.busy_s for worker in self.workers) / seconds,
            "transactions": self.in_transaction.mean() / at_once,
            "row locks": self.in_wait.mean() / at_once,
            "database": database / cores / seconds,
            "disk": self.disk.busy_s / seconds,
        }
        return out

    # --- clients ---

    def _post(self, request: Request) -> None:
        self.outcome.posted += request.orders
        self.in_system.add(request.orders)
        request.web.arrived.append(request)
        wake(request.web.wake)

    def _next_of(self, request: Request) -> None:
        """The client of a request that is answered posts another one, in a closed loop."""
        if self.load.rate or request.seen is not None or self.env.now >= self._stop:
            return
        if self.generator is None:
            self._post(Request(self.env.now, self.load.batch, request.web))
        else:
            self.answered.append(request)
            wake(self.answered_wake)

    def _generating(self) -> Steps:
        """The load generator, a thread on the same machine."""
        assert self.generator is not None
        cost = self.costs.of("load generator", request=1, order=self.load.batch)
        while True:
            if not self.answered:
                self.answered_wake = self.env.event()
                yield self.answered_wake
            answered, self.answered = self.answered, []
            for number, turn in enumerate(_turns(answered)):
                yield from self.generator.burn(cost * len(turn), woken=number == 0)
                for request in turn:
                    if self.env.now < self._stop:
                        self._post(Request(self.env.now, self.load.batch, request.web))

    def _arrivals(self) -> Steps:
        """Many independent customers (Poisson)."""
        load, due = self.load, 0.0
        requests_per_s = load.rate / load.batch
        cost = self.costs.of("load generator", request=1, order=load.batch)
        while due < self._stop:
            number = 0
            while due <= self.env.now:
                self._post(Request(due, load.batch, self.random.choice(self.webs)))
                due += self.random.expovariate(requests_per_s)
                number += 1
            if self.generator is not None and number:
                yield from self.generator.burn(cost * number)
            yield self.env.timeout(max(due - self.env.now, QUANTUM_S / 10))

    def _probing(self) -> Steps:
        number = 0
        while True:
            number += 1
            yield self.env.timeout(max(0.0, number / self.load.probes - self.env.now))
            if self.env.now >= self._stop:
                return
            self.env.process(self._probe(self.random.choice(self.webs)))

    def _probe(self, web: Web) -> Steps:
        request = Request(self.env.now, 1, web, seen=self.env.event())
        yield from self.prober.burn(self.costs.of("load generator", request=1))
        self._post(request)
        assert request.seen is not None
        yield request.seen
        # To the one who waits, and by way of a batch to a thread; and back.
        yield from self._turn(web, 3)
        yield from self._look(web, 2)
        yield from self._turn(web, 1)
        yield from self.prober.burn(self.costs.of("load generator", request=1))
        self.outcome.seen_ms.append((self.env.now - request.posted) * 1000)

    def _wait_decided(self, request: Request) -> None:
        """It is taken: now its client waits for the decision."""
        request.web.polled.append(request)
        if not request.web.polling:
            request.web.polling = True
            self.env.process(self._polling(request.web))

    def _polling(self, web: Web) -> Steps:
        yield from self._turn(web, 1)
        while web.polled:
            before = [request for request in web.polled if request.decided]
            yield from self._look(web, 1)
            for request in before:
                web.polled.remove(request)
                assert request.seen is not None
                request.seen.succeed()
            yield self.env.timeout(POLL_S)
            yield from self._turn(web, 2)
        web.polling = False

    def _look(self, web: Web, statements: int) -> Steps:
        """A thread asks, is answered, reads the rows, and tells the event loop, each when it has
        the interpreter; the loop hears of it, and then goes on with who waits."""
        look_s = self._about(self.costs.look_s)
        for _ in range(statements):
            yield from web.cpu.burn(look_s / 8)
            yield from self.reader.burn(look_s / 2)
            for _ in range(2):
                yield from web.cpu.burn(look_s / 8)
        yield from web.cpu.burn(look_s / 8)
        yield from self._turn(web, 2)

    def _about(self, seconds: float) -> float:
        """Now more, now less: else all idle orders would just miss a look, or none."""
        return seconds * self.random.uniform(0.5, 1.5)

    def _turn(self, web: Web, times: int) -> Steps:
        """What is called soon comes when the event loop is through with what it has."""
        for _ in range(times):
            web.called = True
            wake(web.wake)
            yield web.turned

    # --- the front door ---

    def _web(self, web: Web) -> Steps:
        costs, load = self.costs, self.load
        request_s = costs.of("web", request=1, order=load.batch, line=load.batch * load.lines)
        while True:
            web.turned, turned = self.env.event(), web.turned
            web.called = False
            turned.succeed()
            # Whoever waited for that comes first.
            yield self.env.timeout(0)
            gathered = web.gathered and not web.flying
            woken = not (web.called or web.arrived or web.confirmed or gathered)
            if woken:
                web.wake = self.env.event()
                yield web.wake
            # What flies next is settled before the answers, and sent after them.
            batch: list[Request] = []
            if not web.flying:
                batch, web.gathered = web.gathered, []
            answers, web.confirmed = web.confirmed, []
            for turn in _turns(answers):
                yield from web.cpu.burn(request_s * ANSWER_SHARE * len(turn), woken=woken)
                woken = False
                for request in turn:
                    if request.seen is not None:
                        self._wait_decided(request)
                    elif not load.until_decided:
                        self._next_of(request)
            if batch:
                web.flying = True
                self.env.process(self._flight(web, _packed(batch)))
            arrived, web.arrived = web.arrived[: load.connections], web.arrived[load.connections :]
            if arrived:
                yield from web.cpu.burn(request_s * (1 - ANSWER_SHARE) * len(arrived), woken=woken)
                for request in arrived:
                    request.taken = self.env.now
                web.gathered += arrived

    def _flight(self, web: Web, messages: list[Message]) -> Steps:
        """After the confirm from task to task and future to future, each in a turn of its own."""
        work_s = self.costs.of("web", message=1) * len(messages)
        yield from web.cpu.burn(work_s * BEFORE_SHARE, woken=False)
        work = web.cpu.burn(work_s * (1 - BEFORE_SHARE))
        parts = [work, *(self._publish(message) for message in messages)]
        yield self.env.all_of([self.env.process(part) for part in parts])
        yield from self._turn(web, 4)
        for message in messages:
            web.confirmed += message.requests
        web.flying = False
        wake(web.wake)

    # --- RabbitMQ ---

    def _publish(self, message: Message) -> Steps:
        lines = message.orders * self.load.lines
        queue = self.random.choice(self.queues)
        if self.cores is not None:
            cost = self.costs.of("RabbitMQ", message=1, order=message.orders, line=lines)
        else:
            cost = self.costs.queue(message.orders, lines)
        work = self.env.process(queue.burn(cost))
        # To the broker and back, and from its leader to a follower and back.
        yield self.env.timeout(self._about(self.costs.confirm_s) + 2 * self.setup.rtt_s)
        yield work
        self.outcome.messages += 1
        self.outcome.accepted += message.orders
        self.backlog.append(message)
        self._deliver()
        if self.cores is not None:
            # The thread that tells the publisher has to run.
            yield from self.beside.burn(QUANTUM_S / 100)

    def _deliver(self) -> None:
        """Messages to consumers in turn, as far as each may fetch ahead."""
        most = self.setup.prefetch
        full = 0
        while self.backlog and full < len(self.workers):
            worker = self.workers[next(self.next_worker)]
            if worker.held >= most:
                full += 1
                continue
            full = 0
            worker.held += 1
            worker.fetched.append(self.backlog.popleft())
            wake(worker.fetch)

    # --- workers ---

    def _fetching(self, worker: Worker) -> Steps:
        cost = self.costs.of("worker", message=1)
        while True:
            if not worker.fetched or worker.in_hand >= self.setup.prefetch:
                worker.fetch = self.env.event()
                yield worker.fetch
                continue
            worker.in_hand += 1
            message = worker.fetched.popleft()
            yield from worker.cpu.burn(cost * BEFORE_SHARE)
            worker.ready.append(message)
            wake(worker.commit)
            yield from worker.cpu.burn(cost * (1 - BEFORE_SHARE))

    def _committing(self, worker: Worker) -> Steps:
        while True:
            if not worker.ready:
                worker.commit = self.env.event()
                yield worker.commit
                continue
            slot = self.slots.request()
            yield slot
            group = _group(worker.ready, self.setup.transaction_orders_max)
            del worker.ready[: len(group)]
            for message in group:
                self._begun(message)
            yield from self._transaction(worker, sum(message.orders for message in group))
            self.slots.release(slot)
            for message in group:
                self._settle(message)
            worker.in_hand -= len(group)
            worker.held -= len(group)
            self._deliver()
            wake(worker.fetch)

    def _transaction(self, worker: Worker, orders: int) -> Steps:
        """Claim, read, decide, write; then one message that takes the rows and commits."""
        costs = self.costs
        confirmed = int(min(orders, self.units))
        self.units -= confirmed
        rows = self._rows(confirmed) if confirmed else []
        counts = {"transaction": 1, "order": orders, "line": orders * self.load.lines,
                  "row": len(rows), "refused": orders - confirmed,
                  "beside": len(self.workers) > 1}  # fmt: skip
        in_worker, in_database = (costs.of(name, **counts) for name in ("worker", "PostgreSQL"))
        held = min(costs.held_s(len(rows)), in_database)
        self.in_transaction.add(1)
        yield from self._statements(worker, costs.trips, in_worker, in_database - held)
        yield self.env.timeout(costs.trips_s + self.setup.rtt_s / 2)
        self.in_wait.add(1)
        yield from self.locks.take(rows)
        self.in_wait.add(-1)
        yield from worker.backend.burn(held)
        yield from self.disk.flush(orders)
        self.locks.release(rows)
        yield self.env.timeout(self.setup.rtt_s / 2)
        self.in_transaction.add(-1)
        self.outcome.transactions += 1

    def _statements(
        self, worker: Worker, count: int, in_worker: float, in_database: float
    ) -> Steps:
        """So many, one after the other: for each, both sides wait for a core, the worker for its
        interpreter, too."""
        for _ in range(count):
            yield from worker.cpu.burn(in_worker / count)
            yield from worker.backend.burn(in_database / count)
            yield self.env.timeout(self.setup.rtt_s)

    def _rows(self, orders: int) -> list[int]:
        """The stock rows of so many orders, in order."""
        load = self.load
        if load.hot:
            drawn = self.random.choices(range(load.skus), k=orders * (load.lines - 1))
            return sorted({0, *drawn})
        return sorted(set(self.random.choices(range(load.skus), k=orders * load.lines)))

    def _begun(self, message: Message) -> None:
        now = self.env.now
        self.outcome.begun_ms += [(now - request.taken) * 1000 for request in message.requests]

    def _settle(self, message: Message) -> None:
        now = self.env.now
        for request in message.requests:
            request.decided = True
            self.outcome.waits_ms.append((now - request.posted) * 1000)
            if self.load.until_decided:
                self._next_of(request)
        self.in_system.add(-message.orders)
        self._decided(message.orders)
        if not self.in_system.now and now >= self._stop and not self._drained.triggered:
            self._drained.succeed()

    def _decided(self, orders: int) -> None:
        self.outcome.decided += orders

    # --- what runs beside ---

    def _background(self) -> Steps:
        """Heartbeats, timers, housekeeping: a share of the shared cores."""
        processes = {"web": self.setup.web, "worker": self.setup.workers}
        share = sum(
            self.costs.of(name, second=processes.get(name, 1))
            for name in ("web", "RabbitMQ", "worker", "PostgreSQL")
        )
        step_s = 0.005
        while True:
            yield from self.beside.burn(share * step_s)
            yield self.env.timeout(step_s)


def _turns(requests: list[Request]) -> Iterator[list[Request]]:
    """Of few, the first half has come back before the second is through."""
    turn = min(TURN, max(1, len(requests) // 2))
    return (requests[start : start + turn] for start in range(0, len(requests), turn))


def _packed(requests: list[Request]) -> list[Message]:
    """Requests packed into messages, none torn apart."""
    messages: list[Message] = []
    for request in requests:
        if not messages or messages[-1].orders + request.orders > MESSAGE_ORDERS_MAX:
            messages.append(Message([], 0))
        messages[-1].requests.append(request)
        messages[-1].orders += request.orders
    return messages


def _group(ready: Sequence[Message], orders_max: int) -> list[Message]:
    """The messages that fit a transaction; one, however large."""
    taken, room = 0, orders_max
    for message in ready:
        room -= message.orders
        if taken and room < 0:
            break
        taken += 1
    return list(ready[:taken])
