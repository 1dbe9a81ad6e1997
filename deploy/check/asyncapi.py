"""docs/asyncapi.json is current, AsyncAPI 3 by its own schema, and its examples are messages."""

import json

from jsonschema import Draft7Validator

from deploy.check import Finding
from deploy.documents import ASYNCAPI, POSTMAN, messages
from deploy.local import node


def check() -> None:
    text = ASYNCAPI.read_text()
    if text != messages():
        raise Finding(f"{ASYNCAPI.name} is not current: `make documents` writes it anew.")
    schema = node.packages(POSTMAN) / "@asyncapi" / "specs" / "schemas" / "3.0.0.json"
    wrong = Draft7Validator(json.loads(schema.read_text())).iter_errors(json.loads(text))
    found = [f"{error.json_path}: {error.message}"[:400] for error in wrong]
    if found:
        raise Finding("\n".join(found))
