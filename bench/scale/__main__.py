"""`make scale` (`python -m bench.scale`): measure, fit, simulate, write docs/scaling.md."""

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from bench import machine, servers
from bench.machine import CHECKOUT
from bench.scale import report
from bench.scale.measure import FULL, QUICK, Extent, Measured, Measurement
from deploy.local.errors import CannotRunError

RESULTS = CHECKOUT / "bench" / "results" / "scale.json"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    path = machine.VAR / "results" / RESULTS.name if options.quick else RESULTS
    if options.again:
        document = json.loads(path.read_text())
    else:
        try:
            document = _measure(_extent(options))
        except CannotRunError as error:
            print(error)
            return 1
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_json(document))
    measured = Measured.from_json(document["measured"])
    print("Simulating …", flush=True)
    document |= report.write(measured, document, CHECKOUT / "docs", keep=options.quick)
    path.write_text(_json(document))
    for fault in measured.faults:
        print(f"FAULT  {fault}")
    return 1 if measured.faults else 0


def _extent(options: argparse.Namespace) -> Extent:
    extent = QUICK if options.quick else FULL
    return replace(extent, webs=options.webs or extent.webs,
                   workers=options.workers or extent.workers)  # fmt: skip


def _measure(extent: Extent) -> dict[str, Any]:
    with machine.alone(), servers.running(machine.VAR) as running:
        facts = {
            "when": time.strftime("%Y-%m-%d"),
            "machine": machine.description(),
            "versions": running.versions(),
            "extent": asdict(extent),
        }
        measured = Measurement(running, extent, _say).run()
    return {**facts, "measured": measured.as_json()}


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def _json(document: dict[str, Any]) -> str:
    """Short enough to keep: six digits are more than there is."""
    short = json.loads(json.dumps(document), parse_float=lambda text: float(f"{float(text):.6g}"))
    return json.dumps(short, indent=1) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make scale", description=__doc__)
    parser.add_argument("--quick", action="store_true",
                        help="once, for a second each, below var/")  # fmt: skip
    parser.add_argument("--again", action="store_true",
                        help="fit and simulate what was measured last")  # fmt: skip
    for name in ("webs", "workers"):
        parser.add_argument(f"--{name}", type=_numbers, metavar="1,2,…",
                            help="how many processes, on that axis of the grid")  # fmt: skip
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(sorted(int(number) for number in text.split(",")))


if __name__ == "__main__":
    sys.exit(main())
