"""Private PostgreSQL and RabbitMQ: everything of theirs lies below one folder.

`make run` keeps its servers below `var/`, a test session below a temporary folder:

    ensure_installed()
    with Postgres(tmp_path) as postgres, RabbitMQ(tmp_path) as rabbitmq:
        database_url = postgres.create_database("orders")
        rabbitmq_url = rabbitmq.create_vhost("orders")

Ports and passwords are random, chosen once and kept in the folder; they listen on the loopback
only. When the process that started them dies, however it dies, so do they.
"""

from deploy.local.install import ensure_installed
from deploy.local.postgres import Postgres
from deploy.local.rabbitmq import RabbitMQ
from deploy.local.server import Server, ServerError

__all__ = ["Postgres", "RabbitMQ", "Server", "ServerError", "ensure_installed"]
