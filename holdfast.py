"""The command `holdfast`: what operators and platforms call beside the processes themselves."""

import argparse
import sys
import threading
from collections.abc import Sequence

import peewee

from actors import logs
from actors.terminal import ending, failures, health, partitions, queues, reconcile, top
from actors.terminal.ending import complain
from actors.terminal.output import in_line, say
from config import SettingsError, settings
from models import migrate
from models.database import complaint, configure
from models.queries import api_keys
from models.queries.api_keys import SCOPES


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    return ending.run(lambda: _run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(ending.words(arguments))
    logs.configure("clock" if options.run is _clock else "cli")
    try:
        if options.run is not _up:
            configure(settings(), application_name="holdfast-cli")
        return int(options.run(options) or 0)
    except BrokenPipeError:
        raise
    except SettingsError as error:
        if options.run is _clock:  # its lines are for machines, as those of web and worker
            return logs.refuse("clock", error)
        return complain(str(error), options.trouble)
    except (LookupError, ValueError, ConnectionError) as error:
        return complain(str(error), options.trouble)
    except (peewee.DatabaseError, peewee.InterfaceError) as error:
        return complain(f"database error: {complaint(error)}", options.trouble)
    except OSError:
        raise
    except Exception as error:  # which are RabbitMQ's is asked late: see _is_of_rabbitmq
        if not _is_of_rabbitmq(error):
            raise
        return complain(f"RabbitMQ can't be reached: {error!r}", options.trouble)


def _is_of_rabbitmq(error: Exception) -> bool:
    # To load its libraries takes longer than most tasks, and few need them.
    from dramatiq.errors import BrokerConnectionError  # noqa: PLC0415
    from pika.exceptions import AMQPError  # noqa: PLC0415

    return isinstance(error, (BrokerConnectionError, AMQPError))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="holdfast", description=__doc__)
    # The exit code of what went wrong, unless a task needs that one for something else.
    parser.set_defaults(trouble=1)
    tasks = parser.add_subparsers(required=True, metavar="TASK")

    def task(name: str, run: object, text: str) -> argparse.ArgumentParser:
        added = tasks.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    task("up", _up, "Start the whole system here, as `make run` does.")
    task("migrate", _migrate, "Bring the database up to date.").add_argument(
        "--wait", action="store_true", help="change nothing; return when somebody else has done it"
    )
    task("clock", _clock, "Run the periodic work, and watch the queues.")

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

    top.add_tasks(tasks)
    reconcile.add_tasks(tasks)
    partitions.add_tasks(tasks)
    failures.add_tasks(tasks, _new_id)
    queues.add_tasks(tasks, _new_id)
    health.add_tasks(tasks)
    return parser


def _up(_options: argparse.Namespace) -> int:
    # Only `up` needs the tools of a development machine.
    from deploy.local import up  # noqa: PLC0415

    with ending.interruptible():
        return up.main()


def _migrate(options: argparse.Namespace) -> None:
    if options.wait:
        migrate.wait()
        return
    applied = migrate.migrate(settings().partitions_ahead)
    say("Applied: " + (", ".join(applied) or "nothing, the database was up to date."))


def _clock(_options: argparse.Namespace) -> None:
    # The other tasks need no broker.
    from actors import clock  # noqa: PLC0415

    clock.run_for_ever(settings(), threading.Event())


def _create_key(options: argparse.Namespace) -> None:
    token = api_keys.new_token()
    key_id = api_keys.create(options.name, options.scopes, options.rate_limit, token)
    say(f"Created {key_id}. Copy the token now; it will not be shown again:\n{token}")


def _ensure_development_key(_options: argparse.Namespace) -> None:
    token = settings().api_key
    if token is None:
        raise ValueError("API_KEY is not set; `make run` writes one to .env")
    say(f"{api_keys.create('development', SCOPES, None, token)} is there.")


def _list_keys(_options: argparse.Namespace) -> None:
    for key in api_keys.every():
        state = "revoked" if key.revoked_at else "good"
        limit = key.rate_limit or "no limit"
        say(f"{key.id}  {state:8} {limit:14} {in_line(key.name)}  {' '.join(key.scopes)}")


def _revoke_key(options: argparse.Namespace) -> None:
    if not api_keys.revoke(options.id):
        raise LookupError(f"there is no key {options.id} that is still good")
    say(f"{options.id} is revoked; web processes may accept it for a few more seconds.")


def _new_id() -> str:
    """The id of a command, as the front door mints it, so that its API knows it as one of ours."""
    from web.ids import COMMAND, IdMint  # noqa: PLC0415

    return IdMint(settings().secret_key.encode()).new(COMMAND)


if __name__ == "__main__":
    sys.exit(main())
