"""`python -m bench.revisions BASE`: has a change cost speed?

This checkout and another revision, in turns on the same servers, at the load that is best for both;
prints the ratio of each pair.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from bench import counted, machine, servers
from bench.contenders import holdfast
from bench.load import Orders
from bench.machine import CHECKOUT
from bench.servers import Servers
from bench.system import Site, System

WORKERS = {"WORKER_PROCESSES": "2"}
SHAPES = {
    "single orders": Orders(256, 6),
    "with keys": Orders(256, 6, keyed=True),
    "one hot SKU": Orders(256, 6, hot=True),
    "batches of 500": Orders(8, 6, batch=500),
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    ratios: dict[str, list[float]] = {name: [] for name in SHAPES}
    faults: list[str] = []
    with ExitStack() as stack:
        stack.enter_context(machine.alone())
        base = stack.enter_context(checked_out(options.base))
        running = stack.enter_context(servers.running(machine.VAR))
        sites = {"base": _site("base", base, running), "now": _site("now", CHECKOUT, running)}
        for number in range(options.rounds):
            for name, orders in SHAPES.items():
                rates = {}
                # Who is first changes: the machine's speed does, too.
                for which in sorted(sites, reverse=number % 2 == 1):
                    rates[which], wrong = _rate(sites[which], orders)
                    faults += wrong
                ratios[name].append(rates["now"] / rates["base"])
                print(
                    f"{number + 1}  {name:16} {options.base} {rates['base']:7,.0f}/s"
                    f"  now {rates['now']:7,.0f}/s  {ratios[name][-1]:.3f}",
                    flush=True,
                )
    for name, found in ratios.items():
        print(f"{name:16} median of the ratios {median(found):.3f}")
    for fault in faults:
        print(f"FAULT  {fault}")
    return 1 if faults else 0


def _rate(site: Site, orders: Orders) -> tuple[float, list[str]]:
    site.reset()
    with System(site, WORKERS) as system:
        counted.warm_up(system)
        run = counted.run(system, orders)
    return run.orders_per_s, run.faults


def _site(name: str, checkout: Path, running: Servers) -> Site:
    programs = Path(sys.executable).parent
    contender = holdfast(checkout, name)
    return Site(contender, running, programs, database=name, checkout=checkout).build()


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """A checkout of a revision, for as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="holdfast-base-") as folder:
        path = Path(folder, "checkout")
        git = ["git", "-C", str(CHECKOUT), "worktree"]
        subprocess.run([*git, "add", "-q", "--detach", str(path), revision], check=True)
        try:
            yield path
        finally:
            subprocess.run([*git, "remove", "--force", str(path)], check=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.revisions", description=__doc__)
    parser.add_argument("base", help="the revision to compare with, such as HEAD~10")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of each shape")
    return parser


if __name__ == "__main__":
    sys.exit(main())
