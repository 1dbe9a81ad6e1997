"""What `make run` has to say at its end, in words for people."""

import json
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.local.demo import Client


def readable(line: str) -> str:
    """A line of a log as people read it; what is no JSON stays as it is."""
    try:
        entry = json.loads(line)
        level, message = entry["log.level"], entry["message"]
    except (ValueError, TypeError, KeyError):
        return line
    error = entry.get("error")
    trace = error.get("stack_trace", "") if isinstance(error, dict) else ""
    return f"{level}: {message}\n{trace}".rstrip()


def where_next(
    client: Client, logs: Path, order: Mapping[str, Any], served: Mapping[str, str]
) -> str:
    """What a first look needs. served: where metrics are, by whose they are."""
    body = '{"customer_id": "c-17", "lines": [{"sku": "TEA-01", "quantity": 2}]}'
    words = [
        "curl",
        "-sS",
        "-w",
        "\\n",
        f"{client.address}/v1/orders",
        "-H",
        f"Authorization: Bearer {client.key}",
    ]
    words += ["-H", "Content-Type: application/json", "-H", "Prefer: wait=10", "-d", body]
    hint = "" if shutil.which("curl") else " (curl is not on this machine; install it first)"
    return f"""
Holdfast is running.

  dashboard {client.address}/dashboard  (sign in with the key)
  address   {client.address}  (the API: docs/api.md)
  key       {client.key}
  order     {client.address}/v1/orders/{order["id"]}
  metrics   {", ".join(f"{name} {address}" for name, address in served.items())}
  logs      {shlex.quote(str(logs))}
  stop      Ctrl-C

Place an order yourself{hint}:

{shlex.join(words)}
"""
