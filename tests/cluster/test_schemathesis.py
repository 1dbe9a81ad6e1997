"""The OpenAPI document, tried on the real service by schemathesis."""

import json
import subprocess
import sys
from pathlib import Path

import httpx

from deploy.documents import openapi
from tests.conftest import API_KEY, CHECKOUT, System
from tests.e2e.shop import Shop, assert_stock_is_true

SETTINGS = Path(__file__).with_name("schemathesis.toml")


def tried(
    system: System, document: str, folder: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    """Try a document, by its address or path; what schemathesis keeps is kept in the folder."""
    program = str(Path(sys.executable).parent / "schemathesis")
    run = ["--config-file", str(SETTINGS), "--no-color", "run", document, "--url", system.base_url]
    return subprocess.run(
        [program, *run, *options],
        cwd=folder,
        env={**system.environment, "API_KEY": API_KEY, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_the_service_does_what_its_document_says(
    system: System, client: httpx.Client, tmp_path: Path
) -> None:
    # Given stock for the orders that the document shows
    Shop(client).product(1_000_000, sku="MUG-01")

    # When examples, boundaries, made-up requests and chains of them are tried
    ran = tried(system, f"{system.base_url}/openapi.json", tmp_path)

    # Then there is no finding
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "No issues found" in ran.stdout
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}\n" in ran.stdout, ran.stdout
    # All but the document itself, which was read.
    assert "Tested: 16\n" in ran.stdout
    assert_stock_is_true(system)


def test_a_document_that_is_not_true_is_found_out(system: System, tmp_path: Path) -> None:
    # Given a document that differs from the service in three things
    document = openapi()
    document["components"]["schemas"]["LiveView"]["properties"]["status"] = {"type": "integer"}
    live = document["paths"]["/livez"]["get"]["responses"]
    live["200"]["headers"] = {"ETag": {"$ref": "#/components/headers/ETag"}}
    ready = document["paths"]["/readyz"]["get"]["responses"]
    ready["204"] = ready.pop("200")
    lie = tmp_path / "openapi.json"
    lie.write_text(json.dumps(document))

    # When it is tried
    ran = tried(system, str(lie), tmp_path, "--include-tag", "Health", "--phases", "coverage")

    # Then each of them is found
    assert ran.returncode == 1, ran.stdout + ran.stderr
    for found in ("ST103 Undocumented", "ST107 Missing", "ST108 Response violates"):
        assert found in ran.stdout, ran.stdout
