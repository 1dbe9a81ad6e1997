"""Forms: a field counts once, unless it is a list, and none goes unread."""

import asyncio

import falcon.testing
import pytest

from web.dashboard.forms import Form, read_form
from web.problems import Problem

ONCE, LISTS = ("delta", "reason"), ("ids",)
MEDIA_TYPE = {"Content-Type": "application/x-www-form-urlencoded"}


def read(body: str) -> Form:
    req = falcon.testing.create_asgi_req(body=body.encode(), headers=MEDIA_TYPE)
    return asyncio.run(read_form(req, ONCE, LISTS))


def test_fields_are_read_and_lists_have_many_values() -> None:
    form = read("delta=+1+&ids=1&ids=2")

    assert (form.text("delta"), form.text("reason"), form.all("ids")) == ("1", "", ["1", "2"])


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ("delta=1&delta=5", "/delta", "must not be repeated"),
        ("delta=1&delta=1", "/delta", "must not be repeated"),
        ("delta=1&dleta=5", "/dleta", "is unknown"),
        ("delta=1&=5", "/", "is unknown"),
        ("delta=%00", "/delta", "may not contain NUL"),
        ("delta=%ff", "/delta", "is not UTF-8"),
        (
            "reason=10%zz",
            "/reason",
            "has a % without two hexadecimal digits; a percent sign itself is %25",
        ),
    ],
)
def test_a_field_that_cannot_be_taken_is_named(body: str, pointer: str, detail: str) -> None:
    with pytest.raises(Problem) as caught:
        read(body)

    assert caught.value.status == 422
    assert caught.value.document["errors"] == [{"pointer": pointer, "detail": detail}]
