"""`python -m tests.torture`: one run of the fault rig. Ends with 0 if every promise held, 1 if one
was broken, 2 if the run proves nothing.
"""

import argparse
import secrets
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import pika.exceptions
import psycopg2

from deploy.local.servers import ServerError, ensure_installed
from tests.torture.checker import RECOVERY_S_MAX, Verdict, check
from tests.torture.faults import FAULTS
from tests.torture.proxy import ProxyError
from tests.torture.report import report
from tests.torture.rig import CHECKOUT, Rig, RigError
from tests.torture.run import RATE_PER_S, run
from tests.torture.schedule import chosen

EVERY = "*"
#: What the rig itself may run into: that says nothing of the service.
RIG_ERRORS = (RigError, ProxyError, ServerError, psycopg2.Error, pika.exceptions.AMQPError, OSError)


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    ensure_installed()
    try:
        if options.check:
            rig = Rig(options.check.resolve())
            with rig.servers_alone():
                return _say(check(rig, rig.folder / "history.jsonl"), f"--check {options.check}")
        return _torture(options)
    except ValueError as error:
        print(error, file=sys.stderr)
    except RIG_ERRORS:
        traceback.print_exc()
        print("The rig broke, which says nothing of the service.", file=sys.stderr)
    return 2


def _torture(options: argparse.Namespace) -> int:
    names = chosen(list(FAULTS), options.faults)
    folder = (options.folder or _new_folder(options.seed)).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    again = f"make torture SEED={options.seed} MINUTES={options.minutes:g}"
    if options.faults != EVERY:
        again += f" FAULTS='{options.faults}'"
    print(f"{again}: {len(names)} kinds of faults; all of it is kept in {folder}", flush=True)
    verdict = run(
        folder, options.seed, options.minutes, names, options.checkout, options.patience,
        rate_per_s=options.rate,
    )  # fmt: skip
    (folder / "report.txt").write_text(report(verdict, again) + "\n")
    return _say(verdict, again)


def _say(verdict: Verdict, again: str) -> int:
    print(f"\n{report(verdict, again)}")
    if verdict.broken:
        return 1
    return 0 if verdict.valid else 2


def _new_folder(seed: int) -> Path:
    return CHECKOUT / "var" / "torture" / f"{time.strftime('%Y%m%d-%H%M%S')}-{seed}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="at least; every fault comes once in any case"
    )
    parser.add_argument("--faults", default=EVERY, help="patterns such as kill-*, by commas")
    parser.add_argument("--rate", type=float, default=RATE_PER_S, help="requests a second")
    parser.add_argument(
        "--patience", type=float, default=RECOVERY_S_MAX, help="seconds to recover from a fault"
    )
    parser.add_argument("--folder", type=Path, help="where all is kept; else below var/torture")
    parser.add_argument("--check", type=Path, metavar="FOLDER", help="judge a run that is over")
    parser.add_argument("--checkout", type=Path, default=CHECKOUT, help="whose service to torture")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
