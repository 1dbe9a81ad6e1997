"""`python -m actors`: Dramatiq's own command on our actors, with our logs from its first line.

The options are Dramatiq's: `--processes`, `--threads`, `--worker-shutdown-timeout` and the rest.
"""

import sys

from dramatiq import cli

from actors import logs
from config import settings


def main() -> int:
    options = sys.argv[1:]
    # Dramatiq sets up logging only where nobody has; its processes are forks of this one.
    logs.configure("worker")
    parser = cli.make_argument_parser()
    # Its own is ten minutes: no platform waits that long.
    parser.set_defaults(worker_shutdown_timeout=settings().shutdown_grace_ms)
    parsed = parser.parse_args(["actors.main", *options])
    # What it runs in its own place on SIGHUP.
    sys.argv = [sys.executable, "-m", "actors", *options]
    return int(cli.main(parsed) or 0)


if __name__ == "__main__":
    sys.exit(main())
