"""Memory and CPU time of process trees, from /proc."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Memory:
    """Of one process, in MiB. pss: with its share only of what it shares."""

    component: str
    program: str
    pss_mib: float
    rss_mib: float


class Meter:
    """CPU seconds of each component's process tree since the last `reset`."""

    def __init__(self, roots: Mapping[str, list[int]]) -> None:
        self._roots = roots
        self.reset()

    def reset(self) -> None:
        self._before = self._now()

    def cpu_seconds(self) -> dict[str, float]:
        return {name: value - self._before[name] for name, value in self._now().items()}

    def memory(self) -> list[Memory]:
        """Every process of every component, the largest first."""
        found = []
        for component, pids in self._roots.items():
            for pid in tree(pids):
                with contextlib.suppress(OSError):
                    found.append(_memory(component, pid))
        return sorted(found, key=lambda memory: -memory.pss_mib)

    def _now(self) -> dict[str, float]:
        return {
            name: sum(_cpu_seconds(pid) for pid in tree(pids)) for name, pids in self._roots.items()
        }


def tree(pids: list[int]) -> Iterator[int]:
    """These processes and all that descend from them."""
    for pid in pids:
        yield pid
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                yield from tree([int(child) for child in children.read_text().split()])


def _cpu_seconds(pid: int) -> float:
    """Its own, and that of the children it has buried: so nothing is lost when one ends."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    fields = stat.rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / TICKS_PER_SECOND


def _memory(component: str, pid: int) -> Memory:
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, size = line.partition(":")
        sizes[name] = int(size.split()[0]) / 1024
    program = Path(f"/proc/{pid}/comm").read_text().strip()
    return Memory(component, program, round(sizes["Pss"], 1), round(sizes["Rss"], 1))
