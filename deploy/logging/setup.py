"""Make Elasticsearch and Kibana ready for Holdfast's logs; `python deploy/logging/setup.py`.

Needs Python and nothing else. Running it again changes nothing, or brings what is there up to date.
From the environment: ELASTICSEARCH_URL, KIBANA_URL, ELASTIC_PASSWORD (of the user `elastic`), and
the passwords to be set for Kibana's own user and for Filebeat: KIBANA_PASSWORD, FILEBEAT_PASSWORD.
"""

import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent
WAIT_S: Final = 300.0
#: Filebeat may add lines to our data stream, and see whom it talks to. No more.
ROLE: Final = {
    "cluster": ["monitor"],
    "indices": [{"names": ["logs-holdfast-*"], "privileges": ["auto_configure", "create_doc"]}],
}


class SetupError(Exception):
    """A server refused; the message has its answer."""


class Api:
    """A server of the Elastic stack, as the user `elastic`."""

    def __init__(self, url: str, password: str) -> None:
        self._url = url.rstrip("/")
        token = base64.b64encode(f"elastic:{password}".encode()).decode()
        # Kibana wants to know that no page of another site sends this.
        self._headers = {"Authorization": f"Basic {token}", "kbn-xsrf": "holdfast"}

    def send(self, method: str, path: str, body: object) -> Any:
        """Send JSON. Raises SetupError, or OSError where nobody answers."""
        return self._send(method, path, json.dumps(body).encode(), "application/json")

    def upload(self, path: str, name: str, content: bytes) -> Any:
        """Send a file as a form does."""
        border = "holdfast-border"
        head = (
            f'--{border}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/ndjson\r\n\r\n"
        )
        body = head.encode() + content + f"\r\n--{border}--\r\n".encode()
        return self._send("POST", path, body, f"multipart/form-data; boundary={border}")

    def is_up(self, path: str) -> bool:
        """Whether it answers that it is ready."""
        try:
            self._send("GET", path, None, "application/json")
        except (OSError, SetupError):
            return False
        return True

    def _send(self, method: str, path: str, body: bytes | None, kind: str) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the address is the operator's
            self._url + path, body, {**self._headers, "Content-Type": kind}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  # nosec B310
                return json.loads(answer.read() or "{}")
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")[:1000]
            raise SetupError(f"{method} {path}: {error.code} {text}") from error


def main() -> int:
    try:
        elasticsearch = Api(_given("ELASTICSEARCH_URL"), _given("ELASTIC_PASSWORD"))
        kibana = Api(_given("KIBANA_URL"), _given("ELASTIC_PASSWORD"))
        set_up(elasticsearch, _given("KIBANA_PASSWORD"), _given("FILEBEAT_PASSWORD"))
        set_up_kibana(kibana)
    except (SetupError, OSError) as error:
        print(f"The logs are not set up: {error}", file=sys.stderr)
        return 1
    print("The logs are set up: Kibana, Dashboards, “Holdfast: logs”.")
    return 0


def set_up(elasticsearch: Api, kibana_password: str, filebeat_password: str) -> None:
    """How long lines are kept, how they are stored, and who may write them."""
    _wait_for("Elasticsearch", lambda: elasticsearch.is_up("/_cluster/health"))
    elasticsearch.send("PUT", "/_ilm/policy/holdfast-logs", _read("ilm-policy.json"))
    elasticsearch.send("PUT", "/_index_template/holdfast-logs", _read("index-template.json"))
    elasticsearch.send("PUT", "/_security/role/holdfast_filebeat", ROLE)
    user = {"password": filebeat_password, "roles": ["holdfast_filebeat"]}
    elasticsearch.send("PUT", "/_security/user/holdfast_filebeat", user)
    password = {"password": kibana_password}
    elasticsearch.send("PUT", "/_security/user/kibana_system/_password", password)


def set_up_kibana(kibana: Api) -> None:
    """Searches and the dashboard; what somebody changed in them is put back."""
    _wait_for("Kibana", lambda: kibana.is_up("/api/status"))
    objects = (FOLDER / "kibana.ndjson").read_bytes()
    path = "/api/saved_objects/_import?overwrite=true"
    answer = kibana.upload(path, "kibana.ndjson", objects)
    if not answer.get("success"):
        raise SetupError(f"Kibana takes not all of kibana.ndjson: {json.dumps(answer)[:1000]}")


def _wait_for(name: str, is_up: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not is_up():
        if time.monotonic() > deadline:
            raise SetupError(f"{name} does not answer.")
        time.sleep(2)


def _read(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())


def _given(variable: str) -> str:
    value = os.environ.get(variable, "")
    if not value:
        raise SetupError(f"{variable} is not set.")
    return value


if __name__ == "__main__":
    sys.exit(main())
