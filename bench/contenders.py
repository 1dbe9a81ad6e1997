"""Who is measured: the processes, the database and the settings that are tried for each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.machine import CHECKOUT
from deploy.local import procfile

#: Good for nothing but the bench's own servers.
API_KEY = "hf_only-for-the-bench-00000000000000000000000"
SECRET_KEY = "only-for-the-bench-only-for-the-bench-0000"  # nosec B105
UNITS_ON_HAND = 1_000_000_000

RECEIVE = f"""
INSERT INTO stock_movements
    (at, sku, location, on_hand_delta, allocated_delta, reason, command_id)
SELECT now(), sku, 'main', {UNITS_ON_HAND}, 0, 'received', gen_random_uuid() FROM products;
UPDATE stock SET on_hand = {UNITS_ON_HAND}, allocated = 0;
"""


def catalogue(skus: int = 1000) -> str:
    """Products SKU-0001 and up, without stock."""
    return f"""
INSERT INTO products (sku, name, unit_price, currency, created_at, updated_at)
SELECT 'SKU-' || lpad(n::text, greatest(4, length(n::text)), '0'), 'Product ' || n,
       100 + n % 900, 'EUR', now(), now()
FROM generate_series(1, {skus}) AS n;
INSERT INTO stock (sku, location, on_hand, allocated, updated_at)
SELECT sku, 'main', 0, 0, now() FROM products;
"""


PEERS_CATALOGUE = """
INSERT INTO products (sku, name, unit_price, currency)
SELECT 'SKU-' || lpad(n::text, 4, '0'), 'Product ' || n, 100 + n % 900, 'EUR'
FROM generate_series(1, 1000) AS n;
INSERT INTO stock (sku, on_hand, allocated) SELECT sku, 0, 0 FROM products;
"""
PEERS_RECEIVE = f"""
INSERT INTO stock_movements (sku, on_hand_delta, allocated_delta, reason, order_id)
SELECT sku, {UNITS_ON_HAND}, 0, 'received', gen_random_uuid() FROM products;
UPDATE stock SET on_hand = {UNITS_ON_HAND}, allocated = 0;
"""
PEERS_SCHEMA = (Path(__file__).parent / "peers" / "schema.sql").read_text()


@dataclass(frozen=True)
class Variant:
    """A setting to try. connections: of the load generator."""

    connections: int
    environment: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        words = [f"{self.connections} connections"]
        words += [f"{name.lower()} {value}" for name, value in self.environment.items()]
        return ", ".join(words)


@dataclass(frozen=True)
class Contender:
    """commands: name and command line of each process, as a Procfile has them.

    prepare: commands that make the database ready; schema: SQL that does. catalogue is run once
    in a new database, empty and receive before every run.
    """

    name: str
    title: str
    commands: Mapping[str, str]
    variants: list[Variant]
    tables: tuple[str, ...]
    catalogue: str
    receive: str
    prepare: tuple[str, ...] = ()
    schema: str = ""

    @property
    def empty(self) -> str:
        return f"TRUNCATE {', '.join(self.tables)};"


def holdfast(checkout: Path = CHECKOUT, name: str = "holdfast") -> Contender:
    """As its Procfile has it, without the clock, which has nothing to do in a run."""
    commands = procfile.read(checkout / "Procfile")
    return Contender(
        name=name,
        title="Holdfast",
        commands={"worker": commands["worker"], "web": commands["web"]},
        prepare=(commands["release"], "python -m holdfast keys ensure-development"),
        variants=[
            Variant(connections, {"WORKER_PROCESSES": workers})
            for workers in ("1", "2")
            for connections in (32, 128, 256)
        ],
        tables=(
            "commands",
            "idempotency_keys",
            "orders",
            "order_lines",
            "order_events",
            "stock_movements",
        ),
        catalogue=catalogue(),
        receive=RECEIVE,
    )


def _peer(name: str, title: str, commands: dict[str, str], variants: list[Variant]) -> Contender:
    return Contender(
        name=name,
        title=title,
        commands=commands,
        variants=variants,
        tables=("idempotency_keys", "orders", "order_lines", "order_events", "stock_movements"),
        schema=PEERS_SCHEMA,
        catalogue=PEERS_CATALOGUE,
        receive=PEERS_RECEIVE,
    )


HOLDFAST = holdfast()

USUAL = _peer(
    "usual",
    "FastAPI + Celery + SQLAlchemy",
    {
        "worker": "celery -A bench.peers.usual.tasks worker --concurrency ${WORKERS} -O fair "
        "--without-gossip --without-mingle --without-heartbeat --loglevel warning",
        "web": "uvicorn bench.peers.usual.web:app --host 127.0.0.1 --port ${PORT} "
        "--workers ${WEB} --loop uvloop --http httptools --no-access-log --log-level warning",
    },
    [
        Variant(32, {"WEB": "1", "WORKERS": "2"}),
        Variant(32, {"WEB": "1", "WORKERS": "4"}),
        Variant(32, {"WEB": "2", "WORKERS": "4"}),
        Variant(128, {"WEB": "1", "WORKERS": "4"}),
    ],
)

ONE_BY_ONE = _peer(
    "one_by_one",
    "Dramatiq, one message and one transaction per order",
    {
        "worker": "dramatiq bench.peers.one_by_one.actors --processes ${WORKERS} --threads 8",
        "web": "gunicorn bench.peers.one_by_one.web:app --bind 127.0.0.1:${PORT} "
        "--workers ${WEB} --worker-class gthread --threads 32 --log-level warning",
    },
    [
        Variant(32, {"WEB": "1", "WORKERS": "1"}),
        Variant(32, {"WEB": "1", "WORKERS": "2"}),
        Variant(32, {"WEB": "2", "WORKERS": "2"}),
    ],
)
