"""`make bench` (`python -m bench`): measure, print the ratios, write bench/results/."""

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import machine, picture, report, servers
from bench.figures import Measured, targets
from bench.session import FULL, QUICK, Extent, Session
from deploy.local.errors import CannotRunError

PARTS = {
    "a": "Holdfast end to end, 1,000 SKUs (with and without Idempotency-Key) and one hot SKU",
    "b": "PostgreSQL alone, pgbench",
    "c": "FastAPI + Celery + SQLAlchemy",
    "d": "Dramatiq, one message and one transaction per order",
    "e": "Holdfast, order batches of 500",
    "f": "time from POST to decided",
    "g": "memory and CPU (measured with a)",
    "h": "an empty database and one with millions of orders",
    "i": "Holdfast with 20 dashboard tabs open and with none",
}
#: What the README shows; only a whole run may write it.
RESULTS = Path(__file__).parent / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    extent = QUICK if options.quick else FULL
    whole = not options.quick and options.only == set(PARTS)
    try:
        with machine.alone():
            measured, facts = _measure(extent, options.only)
    except CannotRunError as error:
        print(error)
        return 1
    _write(measured, facts, RESULTS if whole else machine.VAR / "results")
    print(f"\n{report.ratios(measured)}\n")
    for fault in measured.faults:
        print(f"FAULT  {fault}")
    return 1 if measured.faults else 0


def _measure(extent: Extent, parts: set[str]) -> tuple[Measured, dict[str, Any]]:
    peers = machine.ensure_peers_environment()
    with servers.running(machine.VAR) as running:
        facts = {
            "when": time.strftime("%Y-%m-%d"),
            "machine": machine.description(),
            "versions": running.versions(),
            "postgresql_settings": running.settings(),
            "extent": asdict(extent),
        }
        session = Session(running, peers, extent, parts, lambda text: print(text, flush=True))
        return session.run(), facts


def _write(measured: Measured, facts: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    found = [
        {"title": t.title, "value": t.value, "bound": t.bound, "met": t.met}
        for t in targets(measured)
    ]
    document = {**facts, "targets": found, **measured.as_json()}
    caption = (
        f"{facts['when']}: {facts['machine']['cores']} cores shared by load, service and servers; "
        "orders of two lines; thick: over 1,000 SKUs, thin: one hot SKU in every order; median of "
        f"{facts['extent']['rounds']} runs"
    )
    files = {
        "latest.json": json.dumps(_rounded(document), indent=1) + "\n",
        "latest.md": report.markdown(measured, facts),
        "latest.svg": picture.svg(measured, caption),
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    print(f"\nWritten to {folder.relative_to(machine.CHECKOUT)}/: {', '.join(files)}")


def _rounded(document: dict[str, Any]) -> Any:
    """With three decimals everywhere: more is noise."""
    return json.loads(json.dumps(document), parse_float=lambda text: round(float(text), 3))


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {letter}  {what}" for letter, what in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="make bench",
        description=f"Measure Holdfast and its peers, side by side. The parts:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="a few minutes, for a first idea")
    parser.add_argument("--only", type=_parts, default=set(PARTS), metavar="a,b,…",
                        help="only these parts")  # fmt: skip
    return parser


def _parts(text: str) -> set[str]:
    parts = set(text.replace(",", ""))
    if not parts or parts - set(PARTS):
        raise argparse.ArgumentTypeError(f"parts are {', '.join(PARTS)}")
    return parts


if __name__ == "__main__":
    sys.exit(main())
