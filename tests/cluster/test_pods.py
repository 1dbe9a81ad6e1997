"""The pods of deploy/kubernetes as far as a machine without a cluster can run them.

Their commands, settings and probes are the manifests'; all that they may write to is the volume of
theirs, as small as it is there. Only addresses and secrets are the test's.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.check._together import Object
from deploy.check.kubernetes import MANIFESTS, render
from deploy.local.servers import Postgres, RabbitMQ
from tests.conftest import CHECKOUT, ROOT, System, eventually

#: $1: a folder for the volume, $2: its size; then the command.
SEAL = """
set -e
for each in $(findmnt --raw --noheadings --output TARGET); do
    case $each in
        /proc*|/sys*|/dev*) ;;
        *) mount -o remount,bind,ro "$each" 2>/dev/null || true ;;
    esac
done
mount -t tmpfs -o size="$2" tmpfs "$1"
if touch "$PWD/written" 2>/dev/null; then echo "The file system is not sealed."; exit 99; fi
shift 2
exec "$@"
"""


class Pod:
    """What a kubelet does with a pod."""

    def __init__(self, of: Object, settings: dict[str, str], system: System) -> None:
        """of: a Deployment or a Job."""
        self.name = of["metadata"]["name"]
        self.spec: Any = of["spec"]["template"]["spec"]
        (self.container,) = self.spec["containers"]
        self._log = ROOT / "log" / f"{self.name}.log"
        self._volume = ROOT / self.name
        self._volume.mkdir()
        # The test's ports in the place of the manifests', which may be taken here.
        metrics = system.metrics_ports.get(self.name.removeprefix("holdfast-"), 0)
        self._ports = {"http": system.port, "metrics": metrics}
        configured = "envFrom" in self.container
        self._environment = {
            **system.environment, "TMPDIR": str(self._volume), "PYTHONDONTWRITEBYTECODE": "1",
            **(settings if configured else {}),
        }  # fmt: skip

    @contextmanager
    def run(self, container: Any) -> Iterator[subprocess.Popen[str]]:
        """A container's process, which writes to where `log` reads."""
        assert "command" not in container
        size = self.spec["volumes"][0]["emptyDir"]["sizeLimit"].removesuffix("i")
        # Who is not root is it in a user namespace of its own.
        namespace = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else [])]
        seal = ["sh", "-c", SEAL, "sh", str(self._volume), size]
        program, *arguments = [self._expanded(each) for each in container["args"]]
        with self._log.open("w") as log:
            process = subprocess.Popen(
                [*namespace, *seal, Path(sys.executable).with_name(program), *arguments],
                cwd=CHECKOUT, env=self._environment, stdout=log, stderr=log, text=True,
            )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def _expanded(self, argument: str) -> str:
        return re.sub(r"\$\((\w+)\)", lambda name: self._environment[name[1]], argument)

    def log(self) -> str:
        return self._log.read_text()

    def waits(self) -> bool:
        return "Waiting for migrations: 0001" in self.log()

    def passes(self, probe: str) -> bool:
        get = self.container[probe]["httpGet"]
        url = f"http://127.0.0.1:{self._ports[get['port']]}{get['path']}"
        try:
            answer = httpx.get(url, timeout=self.container[probe].get("timeoutSeconds", 1))
        except httpx.TransportError:
            return False
        # The metrics ports answer any path, but only health in JSON.
        return answer.status_code == 200 and "json" in answer.headers["Content-Type"]

    def start_up_s(self) -> float:
        """So long may it take."""
        probe = self.container["startupProbe"]
        return float(probe["periodSeconds"] * probe["failureThreshold"])

    def grace_s(self) -> float:
        """So long may it take to end, once it is told to."""
        before = self.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {})
        return float(self.spec["terminationGracePeriodSeconds"] - before.get("seconds", 0))


@pytest.fixture
def system(postgres: Postgres, rabbitmq: RabbitMQ) -> System:
    return System(postgres, rabbitmq, "pods")


def test_the_pods_wait_for_migrations_then_work_sealed_and_end_in_time(system: System) -> None:
    objects = render(MANIFESTS / "overlays" / "production")
    (settings,) = [each["data"] for each in objects if each["kind"] == "ConfigMap"]
    # The exporter is others', and has nothing to wait for.
    ours = [
        each
        for each in objects
        if each["kind"] == "Deployment" and "exporter" not in each["metadata"]["name"]
    ]
    pods = [Pod(each, settings, system) for each in ours]
    (job,) = [Pod(each, settings, system) for each in objects if each["kind"] == "Job"]
    assert [pod.name for pod in pods] == ["holdfast-clock", "holdfast-web", "holdfast-worker"]

    # Given pods beside an empty database, they wait
    with ExitStack() as stack:
        inits = [stack.enter_context(pod.run(pod.spec["initContainers"][0])) for pod in pods]
        for pod in pods:
            eventually(pod.waits, what=pod.name)

        # When the Job has migrated, they go on
        with job.run(job.container) as migrating:
            assert migrating.wait(60) == 0, job.log()
        for pod, init in zip(pods, inits, strict=True):
            assert init.wait(20) == 0, pod.log()

    with ExitStack() as stack:
        running = [stack.enter_context(pod.run(pod.container)) for pod in pods]
        # Then they start, and orders are decided
        for pod in pods:
            started, ready = (
                partial(pod.passes, f"{each}Probe") for each in ("startup", "readiness")
            )
            eventually(started, within_s=pod.start_up_s(), what=pod.name)
            eventually(ready, what=pod.name)
            assert pod.passes("livenessProbe")
        system.run("keys", "ensure-development")
        order = {"customer_id": "c-17", "lines": [{"sku": "NONE", "quantity": 2}]}
        with system.client() as client:
            placed = client.post("/v1/orders", json=order, headers={"Prefer": "wait=20"})
        assert placed.json()["title"] == "Unknown SKU"

        # When they are told to, they end, long before they would be killed
        told = time.monotonic()
        for process in running:
            process.send_signal(signal.SIGTERM)
        for pod, process in zip(pods, running, strict=True):
            assert process.wait(60) == 0, pod.log()
            assert time.monotonic() - told < pod.grace_s(), pod.name
