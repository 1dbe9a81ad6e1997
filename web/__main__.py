"""`python -m web`: gunicorn on the front door, once its settings are known to be good.

gunicorn reads WEB_CONCURRENCY by itself before it reads our settings, and fails with a traceback
where that is empty or no number.
"""

import os
import sys

from actors import logs
from config import ROOT, SettingsError, settings

#: What gunicorn gets, unless options say otherwise.
OPTIONS = ["--config", str(ROOT / "web" / "gunicorn_conf.py"), "web.main:app"]


def main() -> int:
    try:
        os.environ["WEB_CONCURRENCY"] = str(settings().web_concurrency)
    except SettingsError as error:
        return logs.refuse("web", error)
    from gunicorn.app import wsgiapp  # type: ignore[import-untyped]  # noqa: PLC0415 - see above

    # What it runs in its own place on SIGUSR2, behind the name of the interpreter.
    sys.argv = ["-mweb", *(sys.argv[1:] or OPTIONS)]
    wsgiapp.run(prog="python -m web")
    return 0


if __name__ == "__main__":
    sys.exit(main())
