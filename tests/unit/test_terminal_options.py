"""Options of `holdfast` that no task can take are refused in a line, before anything is asked."""

import pytest

import holdfast
from models.queries import api_keys


@pytest.mark.parametrize(
    "arguments",
    [
        ("failures", "list", "--limit", "-1"), ("failures", "list", "--limit", "0"),
        ("failures", "list", "--limit", "10001"), ("failures", "list", "--limit", "ten"),
        ("failures", "show", "-1"), ("failures", "retry", "9223372036854775808"),
        ("queues", "resume", "holdfast.orders", "--wait", "-1"),
        ("queues", "resume", "holdfast.orders", "--wait", "nan"),
        ("top", "--every", "nan"), ("top", "--every", "0"),
    ],
)  # fmt: skip
def test_a_number_that_is_out_of_range_is_refused(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert holdfast.main(arguments) == 2

    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"{arguments[-1]!r} must be a number from" in printed.err or "show" in arguments


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb", "a\tb", "\x1b[2J", "a\0b", "\u202eeve"])
def test_no_key_has_such_a_name(name: str) -> None:
    with pytest.raises(ValueError, match="a name has 1 to 100 characters"):
        api_keys.create(name, ["orders:read"], None, "token")


@pytest.mark.parametrize(
    "limit",
    ["", "0/second", "1 per 99999999999 second", "1/0 seconds", "1/1000 days", "10/s", "-1/second",
     "1/second; 2/minute", "1/second\n", "\u0661/second", "9999999999/second"],
)  # fmt: skip
def test_no_key_has_such_a_rate_limit(limit: str) -> None:
    with pytest.raises(ValueError, match="is no rate limit"):
        api_keys.create("Ada", ["orders:read"], limit, "token")
