"""docker-compose.yml: as Docker Compose itself understands it, with every profile."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from config import ROOT
from deploy.check import Finding
from deploy.local import trixie
from deploy.local.compose import FILES
from deploy.local.errors import CannotRunError

#: Debian 13's Compose, for a machine without one. It needs no engine to read a file.
UNPACKED: Final = ROOT / "var" / "docker-compose"
#: Images that write beside their programs.
WRITABLE: Final = ("docker.elastic.co/elasticsearch/", "docker.elastic.co/kibana/")

Service = Mapping[str, Any]


def check() -> None:
    """Raises Finding."""
    with tempfile.TemporaryDirectory() as name:
        secrets = Path(name)
        write_secrets(ROOT, secrets)
        # The second file is for `make run`; it has to fit.
        understood(ROOT, secrets, *FILES)
        found = list(faults(understood(ROOT, secrets, FILES[0])))
    if found:
        raise Finding("\n".join(found))


def write_secrets(checkout: Path, folder: Path) -> None:
    """As somebody does before the first start."""
    environment = {"PATH": os.environ["PATH"], "SECRETS": str(folder)}
    script = checkout / "deploy" / "compose" / "secrets"
    subprocess.run([script], env=environment, check=True, capture_output=True)


def understood(
    checkout: Path, secrets: Path, *files: str, env_file: str = os.devnull
) -> dict[str, Any]:
    """What Compose makes of files where nothing is set but where the secrets lie.

    Raises Finding with what it does not understand, such as a network that nobody defines.
    """
    done = subprocess.run(
        [
            *_compose(), "--env-file", env_file, "--profile", "*",
            *(f"--file={checkout / name}" for name in files), "config", "--format", "json",
        ],
        cwd=checkout, capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(secrets), "SECRETS": str(secrets)},
    )  # fmt: skip
    if done.returncode or "not set" in done.stderr:
        raise Finding(done.stderr)
    whole: dict[str, Any] = json.loads(done.stdout)
    return whole


def _compose() -> list[str]:
    if shutil.which("docker"):
        has_it = subprocess.run(["docker", "compose", "version"], check=False, capture_output=True)
        if has_it.returncode == 0:
            return ["docker", "compose"]
    try:
        if not UNPACKED.exists():
            trixie.unpack(["docker-compose"], UNPACKED)
    except CannotRunError as error:
        raise Finding(str(error)) from None
    return [str(UNPACKED / "usr/libexec/docker/cli-plugins/docker-compose")]


def faults(whole: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong in a file that Compose would start."""
    for name, secret in whole["secrets"].items():
        if not Path(secret["file"]).is_file():
            yield f"secret {name}: deploy/compose/secrets does not write {secret['file']}"
    inside = {name for name, network in whole["networks"].items() if network.get("internal")}
    for name, service in whole["services"].items():
        for fault in [*_on_failing(service), *_on_power(service), *_on_reach(service, inside)]:
            yield f"{name}: {fault}"


def _on_failing(service: Service) -> Iterator[str]:
    image, _, tag = service["image"].rpartition("/")[2].partition(":")
    if not image or tag in ("", "latest"):
        yield f"the image {service['image']} is not pinned"
    runs_once = str(service.get("restart")).startswith("on-failure")
    has_own = {"healthcheck": "build" in service, "stop_grace_period": runs_once}
    for key in ("restart", "healthcheck", "logging", "stop_grace_period"):
        if key not in service and not has_own.get(key):
            yield f"no {key}"
    limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
    for limit in {"cpus", "memory", "pids"} - limits.keys():
        yield f"no limit of {limit}"
    for volume in service.get("volumes", []):
        source = volume["source"]
        # An engine brings its own folders.
        is_ours = volume["type"] == "bind" and not source.startswith("/var/lib/docker/")
        if is_ours and not Path(source).exists():
            yield f"{source} is mounted and not there"


def _on_power(service: Service) -> Iterator[str]:
    if not service.get("read_only") and not service["image"].startswith(WRITABLE):
        yield "its root can be written to"
    if service.get("cap_drop") != ["ALL"]:
        yield "it keeps capabilities"
    if "no-new-privileges:true" not in service.get("security_opt", []):
        yield "it may gain privileges"
    for variable, value in (service.get("environment") or {}).items():
        is_secret = re.search("PASS|SECRET|KEY|TOKEN", variable) and not variable.endswith("_FILE")
        if is_secret and value:
            yield f"{variable} is a secret in the environment"


def _on_reach(service: Service, inside: set[str]) -> Iterator[str]:
    ports = service.get("ports", [])
    for port in ports:
        if port.get("host_ip") != "127.0.0.1":
            yield f"port {port['published']} is open to others unless somebody closes it"
    if not ports and not service["networks"].keys() <= inside:
        yield "it has no port, and yet a way out"
