"""What a worker process runs: `dramatiq actors.main`."""

import logging
import sys

import actors.inventory
import actors.orders
from actors.broker import broker
from config import settings
from models.database import configure

__all__ = ["actors", "broker"]

sys.setswitchinterval(settings().switch_interval_s)
configure(settings(), application_name="holdfast-worker")
logging.getLogger("pika").setLevel(logging.WARNING)
