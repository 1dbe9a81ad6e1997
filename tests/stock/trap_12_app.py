"""What the `dramatiq` command of trap 12 runs."""

import os

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

broker = RabbitmqBroker(url=os.environ["RABBITMQ_URL"])


@dramatiq.actor(broker=broker, queue_name=os.environ["QUEUE"])
def work() -> None:
    """Nothing."""
