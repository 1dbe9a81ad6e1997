"""What a message is about can be read of anything that is JSON at all."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.subjects import SUBJECTS_MAX, subjects, trace_id

ID = "0197f0c0-0000-8000-8000-000000000001"
OTHER = "0197f0c0-0000-8000-8000-000000000002"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just(ID),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["id", "order_id", "sku", "lines", "customer_id", "traceparent", "x"]),
        inner,
    ),
    max_leaves=20,
)  # fmt: skip


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


@given(json_values)
def test_any_json_has_subjects_or_none(value: object) -> None:
    for subject in subjects(raw(value)):
        assert subject.partition(":")[0] in {"command", "order", "sku", "customer"}
    assert len(trace_id(raw(value))) in (0, 32)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000 + b"]" * 100_000])
def test_what_is_no_json_has_none(text: bytes) -> None:
    assert subjects(msgspec.Raw(text)) == []
    assert trace_id(msgspec.Raw(text)) == ""


@pytest.mark.parametrize(
    ("command", "about"),
    [
        ({"id": ID, "order_id": OTHER, "to": "shipped"}, [f"command:{ID}", f"order:{OTHER}"]),
        ({"id": ID, "sku": "A", "delta": 1}, [f"command:{ID}", "sku:A"]),
        ({"id": ID, "lines": "none"}, [f"command:{ID}", f"order:{ID}"]),
        ({"id": "1", "customer_id": "c"}, ["customer:c"]),
        ({"sku": "x" * 101, "customer_id": ""}, []),
    ],
)
def test_each_kind_of_command_is_about_something(
    command: dict[str, object], about: list[str]
) -> None:
    assert subjects(raw([command])) == about


def test_the_subjects_of_one_message_are_bounded() -> None:
    lines = [{"sku": f"S{n}", "quantity": 1} for n in range(100)]
    batch = [{"id": ID, "lines": lines}, *({"sku": f"T{n}"} for n in range(2_000))]

    found = subjects(raw(batch))

    assert len(found) == SUBJECTS_MAX
    assert found[:3] == [f"command:{ID}", f"order:{ID}", "sku:S0"]


def test_the_trace_is_the_clients_or_the_commands_own() -> None:
    parent = f"00-{TRACE}-00f067aa0ba902b7-01"

    assert trace_id(raw([{"id": ID, "traceparent": parent}])) == TRACE
    assert trace_id(raw([{"id": ID, "traceparent": "odd"}])) == ID.replace("-", "")
    assert trace_id(raw([{"id": ID}, {"id": OTHER}])) == ""
