"""Gateways of Debian's nginx, and the front doors behind them."""

import json
import os
import signal
import sys
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx

from deploy.check.gateway import RUN, environment, throwaway_certificate
from deploy.local import ports, processes
from deploy.local.processes import Program
from tests.conftest import API_KEY, CHECKOUT, ROOT, System, eventually
from tests.scraping import samples


class FrontDoor:
    """One of several web processes of a system, on ports of its own."""

    def __init__(self, system: System, number: int) -> None:
        self.port, self.metrics_port = ports.free_ports(2)
        self.address = f"127.0.0.1:{self.port}"
        self.log = ROOT / "log" / f"door-{number}.log"
        self._program = Program(
            name=f"door-{number}",
            argv=[sys.executable, "-m", "web"],
            log=self.log,
            owner=ROOT,
            cwd=CHECKOUT,
            environment={
                **system.environment,
                "PORT": str(self.port),
                "WEB_METRICS_PORT": str(self.metrics_port),
            },
        )
        self.start()

    def start(self) -> None:
        self._process = processes.start(self._program)

    def wait_ready(self) -> None:
        eventually(self._is_ready, within_s=40, what=f"ready; see {self.log}")

    def kill(self) -> None:
        """kill -9, the whole process group."""
        processes.kill_group(self._process)

    def pause(self) -> None:
        os.killpg(self._process.pid, signal.SIGSTOP)

    def counted(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels; up to a second behind."""
        text = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics").raise_for_status().text
        return sum(
            value
            for (of, all_labels), value in samples(text).items()
            if of == name and labels.items() <= all_labels
        )

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"http://{self.address}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False


@dataclass
class Gateway:
    """A running nginx. settings: GATEWAY_... without that prefix."""

    name: str
    upstreams: str
    settings: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.folder = ROOT / f"gateway-{self.name}"
        self.folder.mkdir()
        throwaway_certificate(self.folder)
        given = {f"GATEWAY_{name}": value for name, value in self.settings.items()}
        given["GATEWAY_UPSTREAMS"] = self.upstreams
        given["GATEWAY_ACCESS_LOG"] = str(self.folder / "access.log")
        given.setdefault("GATEWAY_PROCESSES", "2")
        variables = environment(self.folder, **given)
        self.port = int(variables["GATEWAY_PORT"])
        self.tls_port = int(variables["GATEWAY_TLS_PORT"])
        self.base_url = f"http://127.0.0.1:{self.port}"
        # Started by root it would serve as somebody who may not into the tests' folder.
        options = ["-g", "user root;"] if os.geteuid() == 0 else []
        self._program = Program(
            name=f"gateway-{self.name}", argv=[str(RUN), *options], owner=ROOT,
            log=ROOT / "log" / f"gateway-{self.name}.log", environment=variables,
        )  # fmt: skip
        self._process = processes.start(self._program)
        address = f"http://127.0.0.1:{variables['GATEWAY_STATUS_PORT']}/livez"
        eventually(lambda: _answers(address), what=f"up; see {self._program.log}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        processes.end(self._process, self._program)

    def client(self, *, address: str = "127.0.0.1", **headers: str) -> httpx.Client:
        """Somebody with every right at an address of the loopback."""
        return httpx.Client(
            base_url=self.base_url,
            headers={"Authorization": f"Bearer {API_KEY}", **headers},
            transport=httpx.HTTPTransport(local_address=address),
            timeout=45,
        )

    def lines(self) -> list[dict[str, Any]]:
        """The access log; every line of it has to be an object of JSON."""
        log = self.folder / "access.log"
        return [json.loads(line) for line in log.read_text().splitlines()]


def _answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=2).status_code == 200
    except httpx.TransportError:
        return False
