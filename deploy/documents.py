"""The documents that describe Holdfast to others' tools: `python -m deploy.documents` writes them.

Made without a running one; `make check-deploy` holds that those that are kept are current.
"""

import json
import os
import subprocess
from importlib import import_module
from typing import Any

from actors import asyncapi
from config import ROOT
from deploy.local import node, programs

POSTMAN = ROOT / "deploy" / "postman"
COLLECTION = POSTMAN / "holdfast.postman_collection.json"
ASYNCAPI = ROOT / "docs" / "asyncapi.json"
#: What our modules want to know when they are imported; nothing is connected to.
NOWHERE = {
    "DATABASE_URL": "postgresql://nowhere.invalid/holdfast",
    "RABBITMQ_URL": "amqp://nowhere.invalid",
    "SECRET_KEY": "of no use to anybody, signs nothing",  # nosec B105
}


def openapi() -> dict[str, Any]:
    """What /openapi.json answers."""
    for name, value in NOWHERE.items():
        os.environ.setdefault(name, value)
    document: dict[str, Any] = import_module("web.openapi.document").document()
    return document


def collection() -> str:
    """The Postman collection, by the OpenAPI document."""
    return subprocess.run(
        [programs.program("node"), POSTMAN / "build.js"],
        env={**os.environ, "NODE_PATH": str(node.packages(POSTMAN))},
        input=json.dumps(openapi()), capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


def messages() -> str:
    """The AsyncAPI document."""
    return json.dumps(asyncapi.document(), indent=1) + "\n"


if __name__ == "__main__":
    COLLECTION.write_text(collection())
    ASYNCAPI.write_text(messages())
