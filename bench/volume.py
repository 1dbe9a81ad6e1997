"""An empty database beside one with millions of orders: the same load and reads on both."""

from dataclasses import dataclass
from pathlib import Path

from bench import counted
from bench.books import Books
from bench.counted import Run
from bench.load import Orders, read_orders
from bench.machine import VAR
from bench.servers import connected
from bench.system import Site, System

IDS = VAR / "ids.txt"
IDS_MAX = 50_000
SAMPLE_IDS = """
SELECT id FROM commands TABLESAMPLE BERNOULLI (%s) WHERE kind = 'place_order' LIMIT %s
"""


@dataclass(frozen=True)
class Volume:
    """Orders decided and orders read per second; reads_p99_ms: of a single read."""

    orders: Run
    reads_per_s: float
    reads_p99_ms: float
    faults: list[str]


def run(system: System, orders: Orders) -> Volume:
    """Place orders, then read random ones of all that are there by their ids."""
    placed = counted.run(system, orders, check=False)
    sample_ids(system.site, IDS)
    found = read_orders(system.address, IDS, orders.connections, orders.seconds)
    failed = list(placed.faults)
    if found["refused"] or found["broken"]:
        failed.append(f"{found['refused'] + found['broken']} reads failed")
    return Volume(placed, found["answered"] / found["seconds"], found["p99_ms"], failed)


def faults(site: Site) -> list[str]:
    """What is wrong with the books of a large database; it takes a while to go through them."""
    with connected(site.database_url) as database:
        return Books(database).faults()


def sample_ids(site: Site, path: Path) -> None:
    """Write random ids of orders, one a line; as many from a small database as from a large one."""
    with connected(site.database_url) as database, database.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM commands")
        ((count,),) = cursor.fetchall()
        percent = min(100.0, 100 * 1.1 * IDS_MAX / count)
        cursor.execute(SAMPLE_IDS, (percent, IDS_MAX))
        path.write_text("".join(f"{id_}\n" for (id_,) in cursor))
