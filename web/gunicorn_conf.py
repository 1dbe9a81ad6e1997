"""gunicorn's settings for the front door."""

from config import settings

_settings = settings()

bind = f"{_settings.host}:{_settings.port}"
workers = _settings.web_concurrency
worker_class = "web.protocol.WebWorker"
backlog = 2048
keepalive = 30
timeout = 30
# Long enough for a publish that has begun, short of the platform's own kill.
graceful_timeout = 10
loglevel = "info"
accesslog = None
errorlog = "-"
proc_name = "holdfast-web"
# Its socket would lie outside the checkout, shared by all of a user's gunicorns.
control_socket_disable = True
