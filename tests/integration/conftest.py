"""Brokers and workers in this process, on the real RabbitMQ; quick to come back after a fault."""

import gc
import warnings
from collections.abc import Generator, Iterator
from typing import Any

import dramatiq.worker
import pytest

import actors.consumer
import actors.operations
import actors.placing
from deploy.local.servers import RabbitMQ
from models import database as db
from models.tables import TABLES
from tests.integration.workshop import Workshop


@pytest.fixture
def connected(migrated: None) -> Iterator[None]:
    """The in-process database as it is, for tests that keep nothing in it."""
    yield
    db.discard_connection()


@pytest.fixture
def database(connected: None) -> None:
    """The in-process database, empty. To delete few rows is far quicker than TRUNCATE."""
    names = [table._meta.table_name for table in reversed(TABLES)]
    db.execute("; ".join(f"DELETE FROM {name}" for name in names))


@pytest.fixture
def workshop(
    rabbitmq: RabbitMQ, database: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workshop]:
    # As in production, only sooner.
    monkeypatch.setattr(dramatiq.worker, "CONSUMER_RESTART_DELAY_SECS", 0.1)
    monkeypatch.setattr(dramatiq.worker, "POST_PROCESS_MESSAGE_RETRY_DELAY_SECS", 0.1)
    monkeypatch.setattr(actors.consumer, "PUT_BACK_PAUSE_S", 0.1)
    shop = Workshop(rabbitmq)
    # An order that waits behind its products is published by the worker that left it out.
    monkeypatch.setattr(actors.placing, "broker", shop.broker)
    monkeypatch.setattr(actors.operations, "broker", shop.broker)
    yield shop
    shop.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Function) -> Generator[None, Any, Any]:
    """pika leaves the sockets of connections that broke to the garbage collector: here it is."""
    result = yield
    if "workshop" in item.fixturenames:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
    return result


def pytest_collection_modifyitems(items: list[Any]) -> None:
    for item in items:
        if "integration" in item.path.parts:
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed.*socket:ResourceWarning"))
