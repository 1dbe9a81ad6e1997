"""The OpenAPI document says what the service does, no less and no more."""

import json
import re
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from deploy.check import Finding
from deploy.check import openapi as check
from deploy.documents import openapi
from models.rules.refusals import STATUS_BY_SLUG
from tests.conftest import CHECKOUT
from web.openapi.operations import OPERATIONS
from web.openapi.problems import KINDS
from web.requests import BATCH_BODY_MAX, BODY_MAX

DOCUMENT = openapi()
#: What the app itself says of its routes, in a process of its own.
ROUTES = """
import falcon.inspect, json
from config import settings
from web.app import create_app
from web.routing import ExactRouter
falcon.inspect.register_router(ExactRouter)(falcon.inspect.inspect_compiled_router)
app = create_app(settings())
print(json.dumps([
    [route.path, method.method, getattr(app._router.find(route.path)[0], "scopes", {})]
    for route in falcon.inspect.inspect_compiled_router(app._router)
    for method in route.methods if not method.internal and method.method != "HEAD"
]))
"""


def test_it_holds_every_public_route_with_its_scopes_and_no_other() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", ROUTES], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    served = {
        (path, method.lower()): scopes.get(method, [])
        for path, method, scopes in json.loads(ran.stdout)
        # Pages for people; the terminal and the API are what programs use.
        if path != "/" and not path.startswith("/dashboard")
    }

    described = {
        (path, method): [scope for way in operation["security"] for scope in way["apiKey"]]
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    }

    assert len(served) >= 17
    assert described == served


def test_a_real_validator_finds_nothing_wrong_and_would(monkeypatch: pytest.MonkeyPatch) -> None:
    check.check()

    broken = openapi()
    broken["paths"]["/v1/orders/{nowhere}"] = broken["paths"].pop("/v1/orders/{order_id}")
    monkeypatch.setattr(check, "openapi", lambda: broken)
    with pytest.raises(Finding, match="nowhere"):
        check.check()


def examples(part: Any, at: str = "") -> list[tuple[str, Any, Any]]:
    """(where, schema, value) of every example below a part of the document."""
    if isinstance(part, list):
        return [one for i, inner in enumerate(part) for one in examples(inner, f"{at}/{i}")]
    if not isinstance(part, dict):
        return []
    found = [one for key, inner in part.items() for one in examples(inner, f"{at}/{key}")]
    if "schema" in part and "example" in part:
        found.append((at, part["schema"], part["example"]))
    if "schema" in part:
        found += [(at, part["schema"], value) for value in part["schema"].get("examples", ())]
        values = part.get("examples", {})
        found += [
            (f"{at}/{name}", part["schema"], shown["value"]) for name, shown in values.items()
        ]
    return found


def test_each_example_is_what_its_schema_says() -> None:
    shown = examples(DOCUMENT)

    assert len(shown) > 60
    for where, schema, value in shown:
        whole = {**schema, "components": DOCUMENT["components"]}
        errors = [error.message for error in Draft202012Validator(whole).iter_errors(value)]
        assert errors == [], where


def test_each_body_shown_is_taken_by_what_reads_bodies() -> None:
    bodies = [operation.body for operation in OPERATIONS if operation.body]

    assert len(bodies) == 6
    for body in bodies:
        assert body.examples
        assert body.bytes_max in (BODY_MAX, BATCH_BODY_MAX)
        for example in body.examples.values():
            msgspec.json.decode(json.dumps(example), type=body.type)


def test_each_answer_shown_is_one_that_can_be_written() -> None:
    answers = [answer for operation in OPERATIONS for answer in operation.answers.values()]

    for answer in answers:
        for example in answer.examples.values():
            written = msgspec.json.encode(msgspec.convert(example, answer.type))
            assert msgspec.json.decode(written).keys() == example.keys()


def test_it_has_every_problem_that_the_code_can_answer() -> None:
    # Given the problems in the code, those of the dashboard's own left out
    code = "".join(path.read_text() for path in (CHECKOUT / "web").glob("*.py"))
    made = set(re.findall(r'(?:Problem|__init__)\(\s*\d{3},\s*"([a-z-]+)"', code))
    made |= set(re.findall(r'\d{3}: \("([a-z-]+)", "', code))
    operating = {"unknown-queue", "unknown-actor", "not-to-be-stopped", "not-paused",
                 "nothing-matches"}  # fmt: skip

    assert len(made) >= 14
    assert set(KINDS) == made | (set(STATUS_BY_SLUG) - operating)


def test_a_problem_has_the_same_title_wherever_it_comes_from() -> None:
    """RFC 9457: a title does not change from one occurrence of its type to the next."""
    code = "".join(path.read_text() for path in (CHECKOUT / "web").glob("*.py"))
    gateway = (CHECKOUT / "deploy" / "gateway" / "nginx.conf.template").read_text()
    made = set(re.findall(r'(?:Problem|__init__)\(\s*\d{3},\s*"([a-z-]+)",\s*"([^"]+)"', code))
    made |= set(re.findall(r'\d{3}: \("([a-z-]+)", "([^"]+)"', code))
    made |= set(re.findall(r'"/problems/([a-z-]+)","title":"([^"]+)"', gateway.replace("\\'", "'")))

    assert len(made) >= 16
    assert {(slug, title) for slug, title in made if KINDS[slug].title != title} == set()


def test_each_change_takes_an_idempotency_key_and_says_when_to_come_back() -> None:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            if method == "get":
                continue
            assert {"$ref": "#/components/parameters/Idempotency-Key"} in operation["parameters"]
            for status in ("429", "503"):
                name = operation["responses"][status]["$ref"].rpartition("/")[2]
                headers = DOCUMENT["components"]["responses"][name]["headers"]
                assert headers["Retry-After"] == {"$ref": "#/components/headers/Retry-After"}, path


def test_every_schema_and_response_is_used() -> None:
    text = json.dumps(DOCUMENT)

    for kind, named in DOCUMENT["components"].items():
        for name in named if kind in ("schemas", "responses", "parameters") else ():
            assert f'"#/components/{kind}/{name}"' in text, name


def integers(part: Any, at: str = "") -> list[tuple[str, dict[str, Any]]]:
    """(where, schema) of every integer below a part of the document."""
    if isinstance(part, list):
        return [found for i, inner in enumerate(part) for found in integers(inner, f"{at}/{i}")]
    if not isinstance(part, dict):
        return []
    found = [each for key, inner in part.items() for each in integers(inner, f"{at}/{key}")]
    return [*found, (at, part)] if part.get("type") == "integer" else found


def test_every_integer_says_how_large_it_may_be() -> None:
    found = integers(DOCUMENT)

    assert len(found) > 25
    assert [at for at, schema in found if schema.get("format") not in ("int32", "int64")] == []
    total = DOCUMENT["components"]["schemas"]["OrderView"]["properties"]["total"]
    assert {"type": "integer", "format": "int64"} in total["anyOf"]
