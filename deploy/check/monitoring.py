"""Prometheus, Alertmanager and Grafana: their configuration, our rules and dashboards."""

import json
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from config import ROOT
from deploy.check import Finding
from deploy.grafana import build
from deploy.grafana.panels import RUNBOOKS
from deploy.local import programs

PROMETHEUS: Final = ROOT / "deploy" / "prometheus"
ALERTMANAGER: Final = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
PROVISIONING: Final = ROOT / "deploy" / "grafana" / "provisioning"
PAGES: Final = ROOT / "docs" / "runbooks"
#: Who hears of an alert.
ROUTES: Final = {
    "outside": ["alertname=Watchdog", "severity=none"],
    "pages": ["alertname=HoldfastNoWorker", "severity=critical"],
    "tickets": ["alertname=HoldfastFailuresOpen", "severity=warning"],
}
#: What Grafana would put in, where the dashboards leave room.
FILLED_IN: Final = {
    "$__rate_interval": "1m", "$instance": ".*", "$actor": ".*", "$queue": ".*", "$database": ".*",
}  # fmt: skip


def check() -> None:
    _run("promtool", "check", "config", "--lint=all", "--lint-fatal", "prometheus.yml")
    _run("promtool", "check", "rules", "--lint=all", "--lint-fatal", "rules.yml", "alerts.yml")
    _run("amtool", "check-config", str(ALERTMANAGER))
    for receiver, labels in ROUTES.items():
        options = ["--config.file", str(ALERTMANAGER), "--verify.receivers", receiver]
        _run("amtool", "config", "routes", "test", *options, *labels)
    written = {file.name: file.read_text() for file in build.FOLDER.iterdir()}
    if written != build.documents():
        raise Finding("The dashboards are not what `python -m deploy.grafana.build` makes.")
    boards = {name: json.loads(text) for name, text in written.items()}
    _unique("uid", [board["uid"] for board in boards.values()])
    for name, board in boards.items():
        _check_board(name, board)
    _check_expressions()
    _check_provisioning()


def expressions() -> Iterator[tuple[str, str]]:
    """Every panel's title and each expression of it, filled in as Grafana does."""
    for name, text in build.documents().items():
        for panel in json.loads(text)["panels"]:
            for target in panel.get("targets", []):
                expr = target["expr"]
                for variable, value in FILLED_IN.items():
                    expr = expr.replace(variable, value)
                yield f"{name}: {panel['title']}", expr


def _run(program: str, *arguments: str) -> None:
    """Raises Finding with what the validator says."""
    command = [str(programs.program(program)), *arguments]
    done = subprocess.run(command, cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Finding(f"{' '.join([program, *arguments])}\n{done.stdout}{done.stderr}")


def _unique(what: str, values: list[Any]) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise Finding(f"{what} twice: {twice}")


def _check_board(name: str, board: dict[str, Any]) -> None:
    """By Grafana's own types, and what a reader of ours is promised."""
    read = json.dumps(Dashboard.from_json(board), cls=JSONEncoder)
    if json.loads(read) != board:
        raise Finding(f"{name}: Grafana's types of a dashboard do not hold all that is in it.")
    _unique(f"{name}: the id of a panel", [panel["id"] for panel in board["panels"]])
    for panel in board["panels"]:
        if panel["type"] == "row":
            continue
        if not panel["description"].strip() or not panel["targets"]:
            raise Finding(f"{name}: {panel['title']} has no description or asks for nothing.")
        for link in panel.get("links", []):
            page = link["url"].removeprefix(f"{RUNBOOKS}/")
            if not (PAGES / page).is_file():
                raise Finding(f"{name}: {panel['title']} leads to {page}, which is no runbook.")


def _check_expressions() -> None:
    """promtool reads expressions as those of rules."""
    asked = [{"record": "a:b:c", "expr": expr, "labels": {"n": str(number), "panel": title}}
             for number, (title, expr) in enumerate(expressions())]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "dashboards.yml")
        file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": asked}]}))
        _run("promtool", "check", "rules", "--lint=none", str(file))


def _check_provisioning() -> None:
    """Grafana has no validator apart from itself: what ours lean on is looked at."""
    sources = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())
    scraped = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    (source,) = sources["datasources"]
    if source["jsonData"]["timeInterval"] != scraped["global"]["scrape_interval"]:
        raise Finding("Grafana is told of another interval than Prometheus reads its targets in.")
    providers = yaml.safe_load((PROVISIONING / "dashboards" / "holdfast.yml").read_text())
    (provider,) = providers["providers"]
    if provider["type"] != "file" or not provider["options"]["path"].startswith("/"):
        raise Finding("Grafana is given no folder of dashboards.")
