"""Implicit conflicts as the live network labels them: joint against alone, in forks of it."""

import pytest

from infra.benches.conflicts import judged
from loops.inner.design import Design

pytestmark = pytest.mark.integration


def test_what_harms_the_live_network_only_together_is_not_let_through() -> None:
    """Cells of three sites late in the evening, when each alone may be switched off and not every two of them."""
    found = judged(38, 23.0, most=5, among=range(3, 9))
    conflicts = [pair for pair in found if pair.implicit]
    assert 0 < len(conflicts) < len(found), "there is something to find, and something else"
    assert not [pair for pair in found if pair.let_through]
    assert all(pair.twin > Design().alpha for pair in conflicts)
