"""What a worker process runs: `python -m actors`."""

import actors.inventory
import actors.moves
import actors.operations
import actors.placing
from actors import interpreter, logs
from actors.broker import broker
from actors.log_context import CurrentMessage
from actors.tracing import Spans, Tracing
from config import settings
from models.database import configure

__all__ = ["actors", "broker"]

configure(settings(), application_name="holdfast-worker")
logs.configure("worker").addFilter(CurrentMessage())
if settings().tracing:
    broker.add_middleware(Spans(Tracing("worker", settings())))
interpreter.tune(settings())
