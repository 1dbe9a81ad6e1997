"""What the processes of the simulation share and wait for: cores, stock rows, a disk."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import Any

import simpy

Steps = Generator[simpy.Event, Any, None]

#: How long a thread keeps a core (or the interpreter) that another one wants, and so how long one
#: waits that is woken while all cores are taken: Linux' slice on two cores.
QUANTUM_S = 0.0014


class Cpu:
    """What runs a program: `serial` one thread at a time, on cores it may share with others.

    switch_s: what passes until a thread that is woken runs, where all cores are taken.
    """

    def __init__(
        self,
        env: simpy.Environment,
        cores: simpy.Resource | None = None,
        *,
        serial: bool = True,
        speed: float = 1.0,
        switch_s: float = 0.0,
    ) -> None:
        self._env = env
        self._switch_s = switch_s
        self._speed = speed
        self._cores = cores
        self._gates = [g for g in (simpy.Resource(env) if serial else None, cores) if g is not None]
        self.busy_s = 0.0

    def burn(self, seconds: float, *, woken: bool = True) -> Steps:
        """So much CPU time, as the others let it. woken: by somebody, rather than going on."""
        if woken and self._switch_s and self._taken():
            yield self._env.timeout(self._switch_s)
        while seconds > 1e-9:
            spell = min(seconds, QUANTUM_S)
            turns = []
            for gate in self._gates:
                turns.append((gate, gate.request()))
                yield turns[-1][1]
            if not any(gate.queue for gate in self._gates):
                # Nobody waits: whoever comes waits for no longer than a few quanta.
                spell = min(seconds, 4 * QUANTUM_S)
            yield self._env.timeout(spell / self._speed)
            for gate, turn in turns:
                gate.release(turn)
            self.busy_s += spell
            seconds -= spell

    def _taken(self) -> bool:
        return self._cores is not None and self._cores.count >= self._cores.capacity


class Level:
    """A number over time, and its mean."""

    def __init__(self, env: simpy.Environment) -> None:
        self._env = env
        self.now = 0
        self._area, self._began, self._changed = 0.0, env.now, env.now

    def add(self, change: int) -> None:
        self._area += self.now * (self._env.now - self._changed)
        self._changed = self._env.now
        self.now += change

    def reset(self) -> None:
        self._area, self._began, self._changed = 0.0, self._env.now, self._env.now

    def mean(self) -> float:
        self.add(0)
        return self._area / max(self._env.now - self._began, 1e-9)


class RowLocks:
    """Rows that transactions lock in order and hold until they commit."""

    def __init__(self, env: simpy.Environment) -> None:
        self._env = env
        self._waiting: dict[int, deque[simpy.Event]] = {}

    def take(self, rows: Iterable[int]) -> Steps:
        for row in rows:
            queue = self._waiting.get(row)
            if queue is None:
                self._waiting[row] = deque()
            else:
                turn = self._env.event()
                queue.append(turn)
                yield turn

    def release(self, rows: Iterable[int]) -> None:
        for row in rows:
            if queue := self._waiting[row]:
                queue.popleft().succeed()
            else:
                del self._waiting[row]


class Disk:
    """One flush at a time; those who come meanwhile share the next."""

    def __init__(self, env: simpy.Environment, seconds: Callable[[int], float]) -> None:
        self._env = env
        self._seconds = seconds
        self._waiting: list[tuple[simpy.Event, int]] = []
        self._flushing = False
        self.busy_s = 0.0

    def flush(self, orders: int) -> Steps:
        done = self._env.event()
        self._waiting.append((done, orders))
        if not self._flushing:
            self._env.process(self._run())
        yield done

    def _run(self) -> Steps:
        self._flushing = True
        while self._waiting:
            group, self._waiting = self._waiting, []
            took = self._seconds(sum(orders for _, orders in group))
            yield self._env.timeout(took)
            self.busy_s += took
            for done, _ in group:
                done.succeed()
        self._flushing = False
