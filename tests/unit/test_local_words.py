"""What `make run` tells people: the log of a start that failed, and where to go after one that did
not."""

import json
from pathlib import Path

from deploy.local.demo import Client
from deploy.local.words import readable, where_next


def test_a_line_of_json_is_shown_as_people_read_it() -> None:
    line = {"log.level": "error", "message": "No.", "error": {"stack_trace": "Traceback\n  deep"}}

    assert readable(json.dumps(line)) == "error: No.\nTraceback\n  deep"
    assert readable('{"log.level": "info", "message": "Yes."}') == "info: Yes."


def test_any_other_line_stays_as_it_is() -> None:
    for line in ("", "plain", "[1]", "5", '{"a": 1}', "{", "null"):
        assert readable(line) == line


def test_the_dashboard_and_the_metrics_are_named() -> None:
    served = {"web": "http://127.0.0.1:9464/metrics", "worker": "off"}

    text = where_next(Client("http://127.0.0.1:8000", "hf_k"), Path("/x"), {"id": "1"}, served)

    assert "http://127.0.0.1:8000/dashboard" in text
    assert "web http://127.0.0.1:9464/metrics, worker off" in text
