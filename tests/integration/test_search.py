"""What a search reads is bounded: by rows, and by time."""

from concurrent.futures import ThreadPoolExecutor

import peewee
import pytest

from config import settings
from models import database as db
from models.queries import search

PRODUCT = """
INSERT INTO products (sku, name, unit_price, currency, created_at, updated_at)
VALUES (%s, %s, 100, 'EUR', now() - make_interval(days => %s), now())
"""


def test_the_newest_products_are_looked_at_and_the_bound_is_told(
    database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for days, sku in enumerate(("Blue-Shirt-3", "Blue-Shirt-2", "Blue-Shirt-1")):
        db.execute(PRODUCT, (sku, "A striped one", days))

    def found(text: str) -> set[str]:
        return {hit.sku for hit in search.find(text, None).products}

    # All of them, by words and by a SKU in any capitals
    assert len(found("STRIPED")) == len(found("blue-shirt")) == 3
    assert search.find("striped", None).oldest_product is None

    # Two of them, the newest
    monkeypatch.setattr(search, "PRODUCTS_READ_MAX", 2)
    assert found("striped") == found("blue-shirt") == {"Blue-Shirt-3", "Blue-Shirt-2"}
    oldest = search.find("striped", None).oldest_product
    assert [(oldest,)] == db.fetch("SELECT created_at FROM products WHERE sku = 'Blue-Shirt-2'")
    # As it is written it is found by its index
    assert found("Blue-Shirt-1") == {"Blue-Shirt-1"}


def test_a_search_that_takes_too_long_is_given_up(
    database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "STATEMENT_MS_MAX", 50)

    def ends_with() -> str | None:
        try:
            search.find("striped", None)
        except peewee.OperationalError as error:
            return db.sqlstate(error)
        finally:
            db.discard_connection()
        return None

    with ThreadPoolExecutor(1) as pool, db.transaction():
        db.execute("LOCK TABLE products IN ACCESS EXCLUSIVE MODE")
        assert pool.submit(ends_with).result(60) == "57014"


def test_a_search_leaves_the_time_of_other_statements_alone(database: None) -> None:
    search.find("striped", None)

    assert db.fetch("SELECT setting::int FROM pg_settings WHERE name = 'statement_timeout'") == [
        (settings().statement_timeout_ms,)
    ]
