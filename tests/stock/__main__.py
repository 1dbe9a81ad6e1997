"""`python -m tests.stock NAME…`: show traps on the stock parts; without names, which there are."""

import argparse
import importlib
import json
import logging
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from deploy.local.servers import RabbitMQ, ensure_installed
from tests.stock.rig import Facts, Rig

TRAPS = {
    "1": "trap_01_lost_retry",
    "1-alarm": "trap_01_memory_alarm",
    "2": "trap_02_no_confirms",
    "3": "trap_03_ack_by_number",
    "4": "trap_04_cancelled_consumer",
    "5": "trap_05_time_limit",
    "6": "trap_06_dead_letters_expire",
    "7": "trap_07_malformed_envelopes",
    "8": "trap_08_hooks_that_raise",
    "9": "trap_09_rate_limits_spend_retries",
    "10": "trap_10_consumer_timeout",
    "11": "trap_11_killer_message",
    "12": "trap_12_one_death_stops_all",
    "13": "trap_13_other_arguments",
    "14": "trap_14_unnoticed_death",
    "pika-publish": "pika_publish_without_deadline",
    "pika-idle": "pika_idle_connection",
    "peewee": "peewee_pool_lock",
    "falcon": "falcon_json",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.stock", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *TRAPS], metavar="NAME")
    parser.add_argument("-v", "--verbose", action="store_true", help="what the parts log, too")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each")
    parser.add_argument("--root", type=Path, help="a RabbitMQ that runs already (see RabbitMQ)")
    options = parser.parse_args()
    if options.verbose:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    else:
        logging.disable()
        threading.excepthook = lambda _: None
    if not options.names:
        print("\n".join(f"{name:13} {_title(name)}" for name in TRAPS))
    elif options.root:
        _show(options.names, RabbitMQ(options.root), options.json)
    else:
        ensure_installed()
        with tempfile.TemporaryDirectory() as root, RabbitMQ(Path(root)) as rabbitmq:
            _show(options.names, rabbitmq, options.json)


def _show(names: list[str], rabbitmq: RabbitMQ, as_json: bool) -> None:
    for name in names:
        facts = _facts(name, rabbitmq)
        if as_json:
            print(json.dumps(facts), flush=True)
        else:
            print(f"{name}: {_title(name)}")
            print("".join(f"  {what}: {how}\n" for what, how in facts.items()), flush=True)


def _facts(name: str, rabbitmq: RabbitMQ) -> Facts:
    rig = Rig(rabbitmq)
    try:
        facts: Facts = _module(name).reproduce(rig)
    except AssertionError as error:
        return {"not reproduced": str(error)}
    finally:
        rig.close()
    return facts


def _title(name: str) -> str:
    return str(_module(name).__doc__).splitlines()[0]


def _module(name: str) -> Any:
    return importlib.import_module(f"tests.stock.{TRAPS[name]}")


main()
