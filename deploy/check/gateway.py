"""The gateway's configuration, as its script renders it, by nginx itself."""

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from config import ROOT
from deploy.check import Finding
from deploy.local import ports, programs

RUN: Final = ROOT / "deploy" / "gateway" / "run"
VARIANTS: Final = {
    "one front door": {},
    "weights": {"GATEWAY_UPSTREAMS": "127.0.0.1:8000 weight=3, 127.0.0.1:8001,[::1]:8002 backup"},
    "the most of every setting": {
        "GATEWAY_REQUESTS_PER_S": "5000",
        "GATEWAY_BURST": "1",
        "GATEWAY_CONNECTIONS": "65535",
        "GATEWAY_UNLIMITED": "10.0.0.0/8, 2001:db8::/32",
        "GATEWAY_PROCESSES": "8",
        "GATEWAY_RESOLVER": "[::1]",
    },
    "TLS": {"GATEWAY_CERTIFICATE": "certificate.pem", "GATEWAY_CERTIFICATE_KEY": "key.pem"},
}


def check() -> None:
    """Raises Finding with what nginx says of a variant."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        throwaway_certificate(folder)
        for variant, settings in VARIANTS.items():
            done = subprocess.run(
                [RUN, "-t"],
                env=environment(folder, **settings),
                capture_output=True,
                text=True,
                check=False,
            )
            # What nginx only warns of is a mistake, too.
            if done.returncode or "[warn]" in done.stderr:
                raise Finding(f"{variant}: {done.stderr or done.stdout}")


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """What `run` needs to keep its files in a folder, and listens where nobody else does."""
    names = ("GATEWAY_PORT", "GATEWAY_TLS_PORT", "GATEWAY_STATUS_PORT")
    free = dict(zip(names, map(str, ports.free_ports(len(names))), strict=True))
    given = {"GATEWAY_FOLDER": str(folder), **free, **settings}
    for name in ("GATEWAY_CERTIFICATE", "GATEWAY_CERTIFICATE_KEY"):
        if name in given:
            given[name] = str(folder / given[name])
    nginx = programs.program("nginx").parent
    return {"PATH": f"{nginx}:{os.environ['PATH']}", **given}


def throwaway_certificate(folder: Path) -> None:
    """`certificate.pem` and `key.pem` for localhost, good for two days."""
    subprocess.run(
        [
            programs.program("openssl"), "req", "-x509", "-days", "2", "-noenc",
            "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout", folder / "key.pem", "-out", folder / "certificate.pem",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
