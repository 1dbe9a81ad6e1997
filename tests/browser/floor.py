"""A system as an operator finds it: a catalogue, orders coming in, some that can't be decided."""

import itertools
import random
import threading
from collections.abc import Sequence

import httpx

from tests.conftest import System, eventually
from tests.e2e.shop import WAIT, Shop, an_order

READ = "dashboard:read"
OPERATE = "dashboard:operate"
#: Orders a second of the load, and how many it may place: the tests look at what moves, not at how
#: much.
LOAD_PER_S = 5
LOAD_MAX = 1_500

CATALOGUE = (
    ("MUG-01", "Enamel mug, 350 ml, cream", 1450, 50_000),
    ("COF-01", "Espresso beans, 1 kg", 2390, 50_000),
    ("POT-01", "Moka pot, 6 cups", 3490, 50_000),
    ("KNF-01", "Chef's knife, 20 cm", 8900, 6),
    ("TWL-01", "Linen tea towel, set of 3", 2790, 0),
)
#: What comes from outside and may hold anything. It would be found where it is not escaped.
HOSTILE_NAME = "<script>window.owned=1</script><b id='owned'>Mug</b> \"&amp;"
HOSTILE_CUSTOMER = "<img src=x onerror=window.owned=2>'\"</td>"
HOSTILE_ERROR = "no price for <script>window.owned=3</script><svg onload=window.owned=4> </pre>"
HOSTILE_SKU = "XSS-01"

CURSED_CUSTOMERS = ("cursed-1", "cursed-2", HOSTILE_CUSTOMER)
CURSED_SKU = "CURSED-1"
BUG = "the price list of November has no line for MUG-01"
#: A bug's stand-in, in the database: some orders and some movements can't be written.
CURSE = f"""
CREATE FUNCTION cursed_order() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF NEW.customer_id LIKE '<%%' THEN
    RAISE EXCEPTION '{HOSTILE_ERROR}' USING ERRCODE = 'check_violation';
END IF;
RAISE EXCEPTION '{BUG}' USING ERRCODE = 'no_data_found'; END $$;
CREATE TRIGGER cursed BEFORE INSERT ON orders FOR EACH ROW
WHEN (NEW.metadata ? 'cursed' AND NEW.status <> 'failed') EXECUTE FUNCTION cursed_order();
CREATE FUNCTION cursed_movement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'the scales are broken' USING ERRCODE = 'invalid_parameter_value'; END $$;
CREATE TRIGGER cursed BEFORE INSERT ON stock_movements FOR EACH ROW
WHEN (NEW.sku = '{CURSED_SKU}' AND NEW.reason = 'damaged') EXECUTE FUNCTION cursed_movement();
"""
LIFT = """
DROP TRIGGER IF EXISTS cursed ON orders;
DROP TRIGGER IF EXISTS cursed ON stock_movements;
"""
OPEN_FAILURES = "SELECT count(*) FROM dead_letters WHERE state = 'failed'"


class Floor:
    """The running system, its keys, and what was put into it. cursed: ids of orders that fail."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.client = system.client()
        self.shop = Shop(self.client)
        self.operator = self._key("Olga Operator", READ, OPERATE)
        self.reader = self._key("Rita Reader", READ)
        self.cursed: list[str] = []
        self._stopping = threading.Event()
        self._load = threading.Thread(target=self._place_orders, daemon=True)

    def fill(self) -> None:
        """A catalogue, some orders of each fate, and the curse with what it makes fail."""
        for sku, name, price, units in (*CATALOGUE, (CURSED_SKU, "Cursed mug", 900, 500)):
            self._product(sku, name, price, units)
        self._product(HOSTILE_SKU, HOSTILE_NAME, 100, 20)
        self.confirmed = self.place(("MUG-01", 2), ("COF-01", 1), customer_id="c-17")
        self.rejected = self.place(("TWL-01", 3), customer_id="c-18")
        self.hostile = self.place((HOSTILE_SKU, 1), customer_id=HOSTILE_CUSTOMER)
        self.system.sql(CURSE)
        self.curse_orders(12)
        self.shop.reduce(CURSED_SKU, 3, headers={})
        self._load.start()

    def close(self) -> None:
        self._stopping.set()
        if self._load.is_alive():
            self._load.join()
        self.client.close()

    def place(self, *lines: tuple[str, int], customer_id: str) -> str:
        """An order that is decided; returns its id."""
        answer = self.shop.place(*lines, customer_id=customer_id, headers=WAIT)
        assert answer.status_code in (201, 409), answer.text
        id_: str = answer.json()["id"]
        return id_

    def curse_orders(self, count: int) -> None:
        """Orders that fail again and again, and become dead letters after a while."""
        customers = itertools.cycle(CURSED_CUSTOMERS)
        orders = [
            an_order(("MUG-01", 1), customer_id=next(customers), metadata={"cursed": "yes"})
            for _ in range(count)
        ]
        answer = self.client.post("/v1/order-batches", json={"orders": orders})
        assert answer.status_code == 202, answer.text
        self.cursed += [taken["id"] for taken in answer.json()["orders"]]

    def surge(self) -> None:
        """More orders at once than usual: every figure of orders changes."""
        orders = [an_order(("MUG-01", 1), ("COF-01", 1)) for _ in range(120)]
        answer = self.client.post("/v1/order-batches", json={"orders": orders})
        assert answer.status_code == 202, answer.text

    def wait_for_failures(self, count: int, within_s: float = 180) -> None:
        """Until so many failures are open."""
        eventually(
            lambda: self.open_failures() >= count, within_s=within_s,
            what=f"{count} failures are open",
        )  # fmt: skip

    def open_failures(self) -> int:
        return self.count(OPEN_FAILURES)

    def lift_curse(self) -> None:
        self.system.sql(LIFT)

    def count(self, statement: str, *params: object) -> int:
        """The one figure that a statement finds."""
        return int(self.system.sql(statement, *params)[0][0])

    def statuses(self, order_ids: Sequence[str]) -> set[str]:
        """What became of orders, by their rows."""
        rows = self.system.sql(
            "SELECT DISTINCT status FROM orders WHERE id = ANY (%s::uuid[])", list(order_ids)
        )
        return {status for (status,) in rows}

    def _key(self, name: str, *scopes: str) -> str:
        options = [f"--scope={scope}" for scope in scopes]
        return self.system.run("keys", "create", name, *options).split()[-1]

    def _product(self, sku: str, name: str, price: int, units: int) -> None:
        self.shop.product(units, price=price, sku=sku)
        self.shop.put_product(sku, name=name, unit_price=price)

    def _place_orders(self) -> None:
        chance = random.Random(20261123)
        with self.system.client() as client:
            for number in range(LOAD_MAX):
                if self._stopping.wait(1 / LOAD_PER_S):
                    return
                lines = [(sku, chance.randint(1, 2)) for sku in chance.sample(
                    ["MUG-01", "COF-01", "POT-01"], k=chance.randint(1, 3))]  # fmt: skip
                body = an_order(*lines, customer_id=f"c-{number % 40}")
                try:
                    client.post("/v1/orders", json=body)
                except httpx.TransportError:
                    # A test restarts the front door; the next order finds it again.
                    self._stopping.wait(0.5)
