"""What a web process serves: `python -m web`."""

import sys

from gunicorn.arbiter import Arbiter  # type: ignore[import-untyped]

from actors import interpreter, logs
from config import SettingsError, settings

try:
    # What it imports has settings of its own to refuse.
    from web.app import create_app

    app = create_app(settings())
except SettingsError as error:
    logs.refuse("web", error)
    # By this code gunicorn ends, rather than begin another process.
    sys.exit(Arbiter.APP_LOAD_ERROR)
interpreter.tune(settings())
