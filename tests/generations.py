"""Which RabbitMQ the tests run on: the machine's own, or the 4 of `make rabbitmq4`."""

import os
from pathlib import Path

from deploy.local.rabbitmq import RabbitMQ
from deploy.local.rabbitmq4 import RabbitMQ4

GENERATIONS = {"": RabbitMQ, "4": RabbitMQ4}


def private_rabbitmq(root: Path, **advanced: int) -> RabbitMQ:
    """A private RabbitMQ below `root`, of the generation that HOLDFAST_TEST_RABBITMQ names."""
    return GENERATIONS[os.environ.get("HOLDFAST_TEST_RABBITMQ", "")](root, **advanced)
