"""Which node of a cluster is tried first."""

from collections import Counter

import msgspec

from actors.nodes import connection_parameters, in_any_order
from config import settings


def test_every_node_is_tried_and_each_is_the_first_as_often() -> None:
    urls = "amqp://u:p@one/;amqp://u:p@two/;amqp://u:p@three/"
    nodes = connection_parameters(msgspec.structs.replace(settings(), rabbitmq_url=urls))

    orders = [[node.host for node in in_any_order(nodes)] for _ in range(600)]

    assert all(sorted(order) == ["one", "three", "two"] for order in orders)
    firsts = Counter(order[0] for order in orders)
    # 200 each, give or take nine times what chance does.
    assert min(firsts.values()) > 100
