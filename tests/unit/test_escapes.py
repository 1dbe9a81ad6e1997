"""What is escaped in a query is text in UTF-8, or is named."""

import pytest

from web.escapes import wrong_escapes


@pytest.mark.parametrize(
    "query", ["", "q=a&b", "q=%EF%BF%BD", "q=%25zz&%C3%A9=%00", "q=100%25", "q=é", "q=%e2%82%ac+"]
)
def test_what_can_be_read_is_left_alone(query: str) -> None:
    assert wrong_escapes(query) == []


@pytest.mark.parametrize("text", ["%ff", "a%ed%a0%80", "%c3%28", "%C3", "%c0%af", "%f5%80%80%80"])
def test_what_is_not_utf_8_is_named(text: str) -> None:
    assert wrong_escapes(f"a=1&q={text}&q={text}") == [{"parameter": "q", "detail": "is not UTF-8"}]


@pytest.mark.parametrize("text", ["%", "100%", "%zz", "%f", "%u20ac", "%%41"])
def test_what_is_no_escape_is_named(text: str) -> None:
    (error,) = wrong_escapes(f"q={text}&a=1")

    assert error["parameter"] == "q"
    assert error["detail"].startswith("has a % without two hexadecimal digits")


def test_a_name_that_cannot_be_read_is_shown_as_far_as_it_can() -> None:
    assert [error["parameter"] for error in wrong_escapes("%ff=1&a=%ff&%zz")] == [
        "\N{REPLACEMENT CHARACTER}", "a", "%zz",
    ]  # fmt: skip
