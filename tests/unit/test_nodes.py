"""Which node of a cluster is tried first."""

from collections import Counter

import msgspec
import pytest

from actors.nodes import connection_parameters, in_any_order
from config import SettingsError, settings


def test_every_node_is_tried_and_each_is_the_first_as_often() -> None:
    urls = "amqp://u:p@one/;amqp://u:p@two/;amqp://u:p@three/"
    nodes = connection_parameters(msgspec.structs.replace(settings(), rabbitmq_url=urls))

    orders = [[node.host for node in in_any_order(nodes)] for _ in range(600)]

    assert all(sorted(order) == ["one", "three", "two"] for order in orders)
    firsts = Counter(order[0] for order in orders)
    # 200 each, give or take nine times what chance does.
    assert min(firsts.values()) > 100


def test_a_url_may_have_its_own_bounds() -> None:
    own = "heartbeat=33&socket_timeout=4.5&blocked_connection_timeout=7&stack_timeout=9"
    urls = f"amqp://u:p@one/?{own};amqp://u:p@two/"

    first, second = connection_parameters(msgspec.structs.replace(settings(), rabbitmq_url=urls))

    assert (first.heartbeat, first.socket_timeout) == (33, 4.5)
    assert (first.blocked_connection_timeout, first.stack_timeout) == (7, 9)
    # What a URL does not say comes from the settings
    assert (second.heartbeat, second.socket_timeout) == (
        settings().heartbeat_s, settings().connect_timeout_s,
    )  # fmt: skip
    assert first.connection_attempts == second.connection_attempts == 1


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("heartbeat=0", "heartbeat"),
        ("socket_timeout=0", "socket_timeout"),
        ("blocked_connection_timeout=0.0", "blocked_connection_timeout"),
        ("stack_timeout=soon", "stack_timeout"),
        ("connection_attempts=5", "connection_attempts"),
        ("retry_delay=5", "retry_delay"),
        ("connection_timeout=5", "unknown parameter 'connection_timeout'"),
    ],
)
def test_a_parameter_that_can_not_be_had_is_named(query: str, named: str) -> None:
    url = f"amqp://u:p@one/?{query}"

    with pytest.raises(SettingsError, match=f"RABBITMQ_URL: .*{named}"):
        connection_parameters(msgspec.structs.replace(settings(), rabbitmq_url=url))
