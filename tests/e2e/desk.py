"""The dashboard's desk: a shop, and two people in front of it."""

from typing import NamedTuple

from tests.conftest import System
from tests.e2e.operators import Operator
from tests.e2e.shop import Shop

LOW = 7


class Desk(NamedTuple):
    """What the tests share: a shop, somebody who may act, somebody who may only look."""

    system: System
    shop: Shop
    operator: Operator
    reader: Operator
