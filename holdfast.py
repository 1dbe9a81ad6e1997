"""The command `holdfast`: what operators and platforms call beside the processes themselves."""

import argparse
import logging
import sys
import threading
from collections.abc import Sequence

import peewee
from dramatiq.errors import BrokerConnectionError
from pika.exceptions import AMQPError

from config import SettingsError, settings
from models import housekeeping
from models.database import configure
from models.migrate import migrate
from models.queries import api_keys, dead_letters
from models.queries.api_keys import SCOPES

#: Months are long; an hour is soon enough, and costs nothing.
CLOCK_EVERY_S = 3600.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    options = _parser().parse_args(arguments)
    try:
        if options.run is not _up:
            configure(settings(), application_name="holdfast-cli")
        return int(options.run(options) or 0)
    except (SettingsError, LookupError, ValueError) as error:
        return _complain(str(error))
    except (peewee.DatabaseError, peewee.InterfaceError) as error:
        return _complain(f"the database says: {error}")
    except (BrokerConnectionError, AMQPError) as error:
        return _complain(f"RabbitMQ can't be reached: {error!r}")


def _complain(text: str) -> int:
    print(f"holdfast: {text.strip()}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="holdfast", description=__doc__)
    tasks = parser.add_subparsers(required=True, metavar="TASK")

    def task(name: str, run: object, text: str) -> argparse.ArgumentParser:
        added = tasks.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    task("up", _up, "Start the whole system here, as `make run` does.")
    task("migrate", _migrate, "Bring the database up to date.")
    task("clock", _clock, "Run the periodic work: partitions made ahead, old counters removed.")

    keys = task("keys", None, "Create, list and revoke API keys.").add_subparsers(
        required=True, metavar="ACTION"
    )
    create = keys.add_parser("create", help="Create a key; its token is shown once.")
    create.add_argument("name", help="whose it is")
    create.add_argument("--scope", action="append", choices=SCOPES, required=True, dest="scopes")
    create.add_argument("--rate-limit", help='such as "100/second"; none without')
    create.set_defaults(run=_create_key)
    keys.add_parser("list", help="List all keys.").set_defaults(run=_list_keys)
    revoke = keys.add_parser("revoke", help="Revoke a key, for good.")
    revoke.add_argument("id", help="as `keys list` shows it")
    revoke.set_defaults(run=_revoke_key)
    keys.add_parser(
        "ensure-development", help="Register API_KEY with every scope and no rate limit."
    ).set_defaults(run=_ensure_development_key)

    failures = task("failures", None, "Show and put back what failed.").add_subparsers(
        required=True, metavar="ACTION"
    )
    failures.add_parser("list", help="The newest failures.").set_defaults(run=_list_failures)
    retry = failures.add_parser("retry", help="Put a failed message back.")
    retry.add_argument("id", type=int, help="as `failures list` shows it")
    retry.set_defaults(run=_retry_failure)
    return parser


def _up(_options: argparse.Namespace) -> int:
    # Only `up` needs the tools of a development machine.
    from deploy.local import up  # noqa: PLC0415

    return up.main()


def _migrate(_options: argparse.Namespace) -> None:
    applied = migrate(settings().partitions_ahead)
    print("Applied: " + (", ".join(applied) or "nothing, the database was up to date."))


def _clock(_options: argparse.Namespace) -> None:
    housekeeping.run_for_ever(settings().partitions_ahead, CLOCK_EVERY_S, threading.Event())


def _create_key(options: argparse.Namespace) -> None:
    token = api_keys.new_token()
    if options.rate_limit is not None:
        api_keys.check_rate_limit(options.rate_limit)
    key_id = api_keys.create(options.name, options.scopes, options.rate_limit, token)
    print(f"{key_id} is made. Its token, shown this once:\n{token}")


def _ensure_development_key(_options: argparse.Namespace) -> None:
    token = settings().api_key
    if token is None:
        raise ValueError("API_KEY is not set; `make run` writes one to .env")
    print(f"{api_keys.create('development', SCOPES, None, token)} is there.")


def _list_keys(_options: argparse.Namespace) -> None:
    for key in api_keys.every():
        state = "revoked" if key.revoked_at else "good"
        limit = key.rate_limit or "no limit"
        print(f"{key.id}  {state:8} {limit:14} {key.name}  {' '.join(key.scopes)}")


def _revoke_key(options: argparse.Namespace) -> None:
    if not api_keys.revoke(options.id):
        raise LookupError(f"there is no key {options.id} that is still good")
    print(f"{options.id} is revoked; web processes may take it for a few seconds more.")


def _list_failures(_options: argparse.Namespace) -> None:
    rows = dead_letters.newest(50)
    for id_, failed_at, _queue, actor, attempts, kind, error, commands, requeued_at in rows:
        state = "put back" if requeued_at else "failed"
        print(f"{id_}  {failed_at:%Y-%m-%d %H:%M:%S}  {state:8}  {actor or '?'}  "
              f"{commands} commands, {attempts} attempts  {kind}: {error}")  # fmt: skip
    if not rows:
        print("Nothing has failed.")


def _retry_failure(options: argparse.Namespace) -> None:
    # The broker is only needed here.
    from actors import dead_letters as letters  # noqa: PLC0415
    from actors.broker import broker  # noqa: PLC0415

    letters.requeue(broker, options.id)
    print(f"{options.id} is put back.")


if __name__ == "__main__":
    sys.exit(main())
