"""Compiled peers of the roll-out bench, by a real C++ compiler."""

import pytest
import torch

from infra.benches.rollout_drop import drop
from infra.benches.rollout_peers import Case, Form
from infra.benches.rollout_torch import parts, prepare

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("form", ["compiled", "positions_compiled"])
def test_a_compiled_form_gives_what_it_gives_uncompiled(form: Form) -> None:
    case = Case(21, 210)
    step, kept, given = parts(drop(case), 4, "cpu", form)
    plain, compiled = step(*kept, *given[0]), prepare(case, 4, "cpu", form).step()
    if form == "compiled":
        assert torch.equal(plain[1], compiled[1])
        plain, compiled = plain[0], compiled[0]
    assert torch.allclose(plain, compiled, rtol=1e-3)
