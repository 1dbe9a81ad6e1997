"""deploy/logging/setup.py makes Elasticsearch and Kibana ready; neither can be had here.

So a server stands in for both, that takes down what it is asked: this shows what is sent, not that
they take it.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from config import ROOT

SCRIPT = ROOT / "deploy" / "logging" / "setup.py"


class Stack:
    """Elasticsearch and Kibana in one: not ready at first; `refuses` is a path that gets 400."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        self.authorizations: set[str] = set()
        self.refuses = ""
        self._early = 1
        stack = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, text = stack.take(self.command, self.path, body)
                stack.authorizations.add(self.headers["Authorization"])
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_PUT = do_POST = answer

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def take(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        if self._early:
            self._early -= 1
            return 503, b"not yet"
        if path == self.refuses:
            return 400, b"no such field"
        self.asked.append((method, path, body))
        return 200, json.dumps({"success": True}).encode()

    def __enter__(self) -> "Stack":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def stack() -> Iterator[Stack]:
    with Stack() as running:
        yield running


def run(stack: Stack, **others: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "ELASTICSEARCH_URL": stack.url,
        "KIBANA_URL": stack.url,
        "ELASTIC_PASSWORD": "of-elastic",
        "KIBANA_PASSWORD": "of-kibana",
        "FILEBEAT_PASSWORD": "of-filebeat",
        **others,
    }
    return subprocess.run(
        [sys.executable, "-I", SCRIPT], env=environment, capture_output=True, text=True, check=False
    )


def test_it_waits_then_sends_everything_and_again_the_same(stack: Stack) -> None:
    first = run(stack)
    sent = list(stack.asked)
    second = run(stack)

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert stack.asked == sent * 2
    bodies: dict[str, Any] = {path: body for method, path, body in sent if method != "GET"}
    assert list(bodies) == [
        "/_ilm/policy/holdfast-logs",
        "/_index_template/holdfast-logs",
        "/_security/role/holdfast_filebeat",
        "/_security/user/holdfast_filebeat",
        "/_security/user/kibana_system/_password",
        "/api/saved_objects/_import?overwrite=true",
    ]
    assert "data_stream" in json.loads(bodies["/_index_template/holdfast-logs"])
    user = json.loads(bodies["/_security/user/holdfast_filebeat"])
    assert user == {"password": "of-filebeat", "roles": ["holdfast_filebeat"]}
    objects = (SCRIPT.parent / "kibana.ndjson").read_bytes()
    assert objects in bodies["/api/saved_objects/_import?overwrite=true"]
    assert len(stack.authorizations) == 1


def test_what_is_refused_is_said_and_fails(stack: Stack) -> None:
    stack.refuses = "/_index_template/holdfast-logs"

    done = run(stack)

    assert done.returncode == 1
    assert "PUT /_index_template/holdfast-logs: 400 no such field" in done.stderr
    assert "of-elastic" not in done.stderr


def test_a_password_that_is_missing_is_named(stack: Stack) -> None:
    done = run(stack, FILEBEAT_PASSWORD="")

    assert done.returncode == 1
    assert "FILEBEAT_PASSWORD is not set" in done.stderr
    assert stack.asked == []
