"""The torture's self-test takes safeties out by editing the code: what it edits has to be there."""

import pytest

from tests.torture.rig import CHECKOUT
from tests.torture.selftest import REGRESSIONS, Edit


@pytest.mark.parametrize("edit", [edit for each in REGRESSIONS for edit in each.edits])
def test_what_the_self_test_edits_is_there_once(edit: Edit) -> None:
    assert (CHECKOUT / edit.path).read_text().count(edit.old) == 1
