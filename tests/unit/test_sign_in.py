"""What an attempt to sign in leaves behind."""

import logging

import falcon.asgi
import pytest
from falcon import testing

from web.dashboard.sign_in import LINES_MAX, Refusals
from web.metrics import figures


def test_refusals_are_all_counted_and_a_few_a_second_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    req = falcon.asgi.Request(testing.create_scope(), testing.ASGIRequestEventEmitter())
    refusals = Refusals()
    before = figures.sign_ins["no_such_key"]

    with caplog.at_level(logging.WARNING):
        for _ in range(LINES_MAX * 5):
            refusals.note(req, "no_such_key", "198.51.100.7")

    assert figures.sign_ins["no_such_key"] - before == LINES_MAX * 5
    # A second may have ended meanwhile.
    assert LINES_MAX <= len(caplog.messages) <= LINES_MAX * 2
    assert set(caplog.messages) == {"A sign-in from 198.51.100.7 was refused: no such key"}
