"""The Postman collection, run by newman against the real service."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy import documents
from deploy.check import Finding
from deploy.check import postman as check
from deploy.documents import COLLECTION, POSTMAN, openapi
from deploy.local import node, programs
from tests.conftest import API_KEY, System


def run(
    system: System, key: str, report: Path
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Run the whole collection in the environment that is kept beside it."""
    newman = node.packages(POSTMAN) / "newman" / "bin" / "newman.js"
    arguments = [
        "run", COLLECTION, "--environment", POSTMAN / "local.postman_environment.json",
        "--env-var", f"baseUrl={system.base_url}", "--env-var", f"apiKey={key}",
        "--reporters", "cli,json", "--reporter-json-export", report,
        "--timeout-request", "30000", "--disable-unicode", "--color", "off",
    ]  # fmt: skip
    ran = subprocess.run(
        [str(programs.program("node")), str(newman), *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return ran, json.loads(report.read_text())["run"]["stats"]


def test_the_collection_is_what_the_document_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    check.check()

    other = openapi()
    other["paths"]["/livez"]["get"]["summary"] = "Is anybody there?"
    monkeypatch.setattr(documents, "openapi", lambda: other)
    with pytest.raises(Finding, match="not current"):
        check.check()


def test_the_collection_runs_without_a_failure(system: System, tmp_path: Path) -> None:
    ran, stats = run(system, API_KEY, tmp_path / "report.json")

    assert ran.returncode == 0, ran.stdout + ran.stderr
    # All flows, and every operation of the document once.
    assert stats["items"]["total"] >= 31 + 17
    assert stats["assertions"]["total"] >= 49
    assert stats["assertions"]["failed"] == stats["testScripts"]["failed"] == 0


def test_it_would_fail_where_the_service_refuses(system: System, tmp_path: Path) -> None:
    ran, stats = run(system, "a-key-that-nobody-has", tmp_path / "report.json")

    assert ran.returncode == 1
    # What needs no key passes all the same.
    assert 30 < stats["assertions"]["failed"] < stats["assertions"]["total"]
