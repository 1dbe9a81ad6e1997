"""A real Prometheus, with the configuration that we hand out, reads a system that is at work."""

import itertools
import math
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import httpx
import psycopg2
import pytest
from psycopg2.extras import PhysicalReplicationConnection

from deploy.check.monitoring import expressions
from deploy.local import ports, processes, programs
from deploy.local.processes import Program
from deploy.local.rabbitmq import RabbitMQ
from deploy.local.server import plain_environment
from deploy.local.servers import Postgres
from tests.conftest import CHECKOUT, ROOT, System, eventually
from tests.e2e.shop import WAIT, Shop

DEPLOY = CHECKOUT / "deploy"
FAULTY = "c-whose-orders-fail"


class MeasuredRabbitMQ(RabbitMQ):
    """With its Prometheus plugin, as the image of compose has it."""

    def initial_settings(self) -> dict[str, Any]:
        (port,) = ports.free_ports(1)
        return {**super().initial_settings(), "metrics_port": port}

    def prepare(self) -> None:
        super().prepare()
        (self.folder / "enabled_plugins").write_text("[rabbitmq_prometheus].\n")

    def configuration(self) -> str:
        port = self.settings["metrics_port"]
        own = f"prometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {port}\n"
        return super().configuration() + own


class Monitoring:
    """Prometheus, Alertmanager and the exporters, on ports of their own."""

    def __init__(self, system: System, rabbitmq: MeasuredRabbitMQ) -> None:
        self._running = ExitStack()
        self._folder = ROOT / "monitoring"
        self._http = self._running.enter_context(httpx.Client(timeout=20))
        names = ("prometheus", "alertmanager", "postgres-exporter", "node-exporter")
        self.ports = dict(zip(names, ports.free_ports(4), strict=True))
        self._targets = {
            **self.ports,
            **system.metrics_ports,
            "rabbitmq": int(rabbitmq.settings["metrics_port"]),
        }
        self._database_url = system.environment["DATABASE_URL"]

    def __enter__(self) -> "Monitoring":
        self._folder.mkdir()
        self._start("prometheus-alertmanager", *self._alertmanager())
        self._start("prometheus-postgres-exporter", self._listen("postgres-exporter"),
                    DATA_SOURCE_NAME=f"{self._database_url}?sslmode=disable")  # fmt: skip
        self._start("prometheus-node-exporter", self._listen("node-exporter"))
        self._start("prometheus", *self._prometheus())
        for name in ("prometheus", "alertmanager"):
            eventually(partial(self._is_ready, name), within_s=60, what=f"{name} ready")
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def ask(self, path: str, **parameters: str) -> Any:
        """What Prometheus answers; an error of it fails."""
        url = f"http://127.0.0.1:{self.ports['prometheus']}/api/v1/{path}"
        answer = self._http.get(url, params=parameters).json()
        assert answer["status"] == "success", (answer, parameters)
        return answer["data"]

    def values(self, expr: str) -> list[float]:
        """What an expression is now; nothing where it has no value."""
        found = [float(one["value"][1]) for one in self.ask("query", query=expr)["result"]]
        return [value for value in found if not math.isnan(value)]

    def notified(self) -> dict[str, str]:
        """The alerts that Alertmanager knows and does not keep back, and who hears of each."""
        alerts = self._http.get(self._alerts, params={"inhibited": "false"}).json()
        return {one["labels"]["alertname"]: one["receivers"][0]["name"] for one in alerts}

    def raise_alerts(self, **severities: str) -> None:
        """Tell Alertmanager what Prometheus might."""
        labels = [{"alertname": name, "severity": given} for name, given in severities.items()]
        self._http.post(self._alerts, json=[{"labels": one} for one in labels]).raise_for_status()

    @property
    def _alerts(self) -> str:
        return f"http://127.0.0.1:{self.ports['alertmanager']}/api/v2/alerts"

    def _is_ready(self, name: str) -> bool:
        try:
            return self._http.get(f"http://127.0.0.1:{self.ports[name]}/-/ready").is_success
        except httpx.TransportError:
            return False

    def _alertmanager(self) -> list[str]:
        return [
            f"--config.file={DEPLOY / 'alertmanager' / 'alertmanager.yml'}",
            f"--storage.path={self._folder / 'alertmanager'}",
            "--cluster.listen-address=",
            self._listen("alertmanager"),
        ]

    def _prometheus(self) -> list[str]:
        """Our files as they are, but for where targets are and how often they are read."""
        for file in ("rules.yml", "alerts.yml"):
            (self._folder / file).write_bytes((DEPLOY / "prometheus" / file).read_bytes())
        text = (DEPLOY / "prometheus" / "prometheus.yml").read_text().replace(": 15s", ": 1s")

        def target(name: str) -> str:
            return f'static_configs: [{{targets: ["127.0.0.1:{self._targets[name]}"]}}]'

        by_name = r"dns_sd_configs: \[\{names: \[(\S+)\], type: A, port: \d+\}\]"
        text, replaced = re.subn(by_name, lambda found: target(found[1]), text)
        assert replaced == 9
        text = text.replace("localhost:9090", f"127.0.0.1:{self.ports['prometheus']}")
        (self._folder / "prometheus.yml").write_text(text)
        return [
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'prometheus'}",
            # It finds Alertmanager after 5 s, and sends again after so long what it could not.
            "--rules.alert.resend-delay=1s",
            self._listen("prometheus"),
        ]

    def _listen(self, name: str) -> str:
        return f"--web.listen-address=127.0.0.1:{self.ports[name]}"

    def _start(self, name: str, *arguments: str, **environment: str) -> None:
        program = Program(
            name=name,
            argv=[str(programs.program(name)), *arguments],
            log=ROOT / "log" / f"{name}.log",
            owner=ROOT,
            cwd=self._folder,
            environment={**plain_environment(), **environment},
        )
        process = processes.start(program)
        self._running.callback(processes.end, process, program)


class Load:
    """Orders, moves and refusals, one after the other, for as long as it goes on."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._go_on)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join(60)

    def _go_on(self) -> None:
        with self._system.client() as client:
            shop = Shop(client)
            sku = shop.product(1_000_000)
            while not self._enough.wait(0.05):
                # While RabbitMQ is blocked all of these are refused.
                placed = shop.place((sku, 1))
                shop.place((sku, 1_000_000))
                shop.adjust(sku, 1)
                shop.put_product(sku)
                if placed.status_code == 201:
                    moved = {"status": "cancelled"}
                    client.patch(f"/v1/orders/{placed.json()['id']}", json=moved, headers=WAIT)


class Replica:
    """Reads the write-ahead log and says that it has replayed it, as a replica does."""

    def __init__(self, system: System) -> None:
        self._connection = psycopg2.connect(
            system.environment["DATABASE_URL"],
            application_name="replica",
            connection_factory=PhysicalReplicationConnection,
        )
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join(10)
        self._connection.close()

    def _read(self) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute("IDENTIFY_SYSTEM")
            (_, _, position, _), *_ = cursor.fetchall()
            cursor.start_replication(start_lsn=position)
            while not self._enough.wait(0.2):
                while (message := cursor.read_message()) is not None:
                    position = message.data_start
                    cursor.send_feedback(apply_lsn=position, force=True)


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[MeasuredRabbitMQ]:
    with MeasuredRabbitMQ(ROOT / "measured") as running:
        yield running


@pytest.fixture(scope="module")
def measured(postgres: Postgres, rabbitmq: MeasuredRabbitMQ) -> Iterator[System]:
    """A system of its own, at which one customer's orders fail."""
    # While RabbitMQ confirms nothing a request shall not wait long.
    running = System(postgres, rabbitmq, "measured", PUBLISH_DEADLINE_S="1")
    running.prepare()
    # The clock shows what the books were found to be before it began.
    running.run("reconcile")
    running.start("web", "worker", "clock")
    running.sql(f"""
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'this one fails';
        END $$;
        CREATE TRIGGER fail BEFORE INSERT ON orders FOR EACH ROW
            WHEN (NEW.customer_id = '{FAULTY}' AND NEW.status <> 'failed')
            EXECUTE FUNCTION fail();
    """)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def monitoring(measured: System, rabbitmq: MeasuredRabbitMQ) -> Iterator[Monitoring]:
    with Monitoring(measured, rabbitmq) as running, Replica(measured), Load(measured):
        yield running


def test_every_target_is_read(monitoring: Monitoring) -> None:
    def unread() -> list[str]:
        targets = monitoring.ask("targets")["activeTargets"]
        wrong = [f"{one['scrapeUrl']}: {one['health']} {one['lastError']}" for one in targets]
        return [line for line in wrong if ": up " not in line] if len(targets) == 9 else wrong

    eventually(lambda: unread() == [], within_s=30)


def test_every_rule_can_be_worked_out(monitoring: Monitoring) -> None:
    def rules() -> list[Any]:
        groups = monitoring.ask("rules")["groups"]
        return list(itertools.chain.from_iterable(group["rules"] for group in groups))

    eventually(lambda: all(rule["health"] != "unknown" for rule in rules()))

    wrong = [f"{rule['name']}: {rule['lastError']}" for rule in rules() if rule["health"] != "ok"]
    assert wrong == []
    assert len(rules()) > 60


def test_what_fails_is_seen_and_told(
    measured: System, rabbitmq: MeasuredRabbitMQ, monitoring: Monitoring
) -> None:
    eventually(lambda: monitoring.values('holdfast_http_requests_total{status="201"}'))

    # When a customer's orders fail, and RabbitMQ is short of memory for a while
    with measured.client() as client:
        order = {"customer_id": FAULTY, "lines": [{"sku": "ANY", "quantity": 1}]}
        assert client.post("/v1/orders", json=order).status_code == 202
    rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1")
    try:
        alarm = 'ALERTS{alertname="RabbitMQAlarm"}'
        eventually(lambda: monitoring.values(alarm), what="an alarm")
        failed = "holdfast_changes_failed:ratio_rate5m > 0"
        eventually(lambda: monitoring.values(failed), within_s=30, what="changes failed")
    finally:
        rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1GB")

    # Then its alert goes, the failed attempts are counted, and Alertmanager has heard of what fires
    eventually(lambda: not monitoring.values(alarm), what="no alarm")
    errors = 'dramatiq_message_errors_total{actor_name="place_orders"} > 0'
    eventually(lambda: monitoring.values(errors), what="attempts that failed")
    eventually(lambda: monitoring.notified().get("Watchdog") == "outside", within_s=30)


def test_what_follows_from_something_else_is_kept_back(monitoring: Monitoring) -> None:
    monitoring.raise_alerts(HoldfastMessagesOld="critical", HoldfastFailuresOpen="warning")
    eventually(lambda: "HoldfastMessagesOld" in monitoring.notified())

    monitoring.raise_alerts(PostgresDown="critical", HoldfastBooksDiffer="critical")

    eventually(lambda: "HoldfastMessagesOld" not in monitoring.notified())
    heard = monitoring.notified()
    assert heard["PostgresDown"] == heard["HoldfastBooksDiffer"] == "pages"
    assert heard["HoldfastFailuresOpen"] == "tickets"


def test_every_panel_of_the_dashboards_has_data(monitoring: Monitoring) -> None:
    empty = dict.fromkeys(expressions())
    assert len(empty) > 100

    # Once is enough: for the last failure the windows of rates move on.
    def all_had_data() -> bool:
        for one in list(empty):
            if monitoring.values(one[1]):
                del empty[one]
        return not empty

    try:
        eventually(all_had_data, within_s=45)
    finally:
        assert list(empty) == []
