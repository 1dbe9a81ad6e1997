"""What a web process serves: `gunicorn --config web/gunicorn_conf.py web.main:app`."""

import sys

from config import settings
from web.app import create_app

sys.setswitchinterval(settings().switch_interval_s)
app = create_app(settings())
