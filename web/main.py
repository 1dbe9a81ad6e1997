"""What a web process serves: `gunicorn --config web/gunicorn_conf.py web.main:app`."""

from actors import interpreter
from config import settings
from web.app import create_app

app = create_app(settings())
interpreter.tune(settings())
