"""Where a server is in the log, and what is done with one of the other kind."""

from models.database import database as connection
from models.queries import replication


def test_the_primary_says_where_it_is(database: None) -> None:
    before = replication.position()

    assert replication.position() >= before > 0
    assert not connection.is_closed()


def test_a_server_that_is_no_standby_is_left_for_its_address_may_lead_elsewhere_by_now(
    database: None,
) -> None:
    assert replication.replayed() is None

    assert connection.is_closed()
