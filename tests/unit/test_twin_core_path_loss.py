"""Path loss against the formulas of TR 38.901 as tr3gpp carries them, evaluated from their LaTeX."""

import math
import re
from collections.abc import Callable
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tr3gpp import tr38901

from twin_core.radio import path_loss as ours

_SECTION = tr38901.section("7.4")
Formula = Callable[..., float]


_SYMBOLS = (
    (r"\log_{10}", " log10 "), (r"\exp", " exp "), (r"\max", " max "), (r"\left[", "("), (r"\right]", ")"),
    (r"\left(", "("), (r"\right)", ")"), ("C'(h_{UT})", " c "), ("d'_{BP}", " bp "), ("d_{3D}", " d3 "),
    ("d_{2D-out}", " d2 "), ("f_c", " fc "), ("h_{BS}", " hbs "), ("h_{UT}", " hut "),
)  # fmt: skip
_FUNCTIONS = {"log10": math.log10, "exp": math.exp, "max": max}


def _python(latex: str) -> str:
    """A formula's right-hand side as Python."""
    for old, new in _SYMBOLS:
        latex = latex.replace(old, new)
    latex = re.sub(r"\\dfrac\{([^{}]*)\}\{([^{}]*)\}", r"((\1)/(\2))", latex)
    out: list[str] = []
    for token in re.findall(r"[\d.]+|[a-z]\w*|[-+/^(),]", latex):
        # What stands side by side is multiplied.
        if out and re.match(r"[\w(]", token) and re.match(r"[\w.)]", out[-1]) and out[-1] not in _FUNCTIONS:
            out.append("*")
        out.append("**" if token == "^" else token)
    return " ".join(out)


@cache
def _compiled(latex: str) -> Formula:
    code = compile(_python(latex), latex, "eval")
    return lambda **names: float(eval(code, dict(_FUNCTIONS), names))


@cache
def _rule(scenario: str, condition: str) -> Formula:
    los = _SECTION.pathloss(scenario=scenario, condition="LOS").formula
    near = _compiled(re.search(r"PL_1 = (.*?); ", los).group(1))  # type: ignore[union-attr]
    far = _compiled(re.search(r"PL_2 = (.*)", los).group(1))  # type: ignore[union-attr]

    def line_of_sight(d2: float, **names: float) -> float:
        return near(**names) if d2 <= names["bp"] else far(**names)

    if condition == "LOS":
        return line_of_sight
    text = _SECTION.pathloss(scenario=scenario, condition="NLOS").formula
    blocked = _compiled(text.split("PL'_{" + scenario.split("-")[0] + "-NLOS} = ")[1])
    return lambda d2, **names: max(line_of_sight(d2, **names), blocked(**names))


OURS = {
    ("UMa", "LOS"): ours.uma_los_db,
    ("UMa", "NLOS"): ours.uma_nlos_db,
    ("UMi-StreetCanyon", "LOS"): ours.umi_los_db,
    ("UMi-StreetCanyon", "NLOS"): ours.umi_nlos_db,
}
_metres = st.floats(10, 5000)
_carrier = st.floats(0.5, 100)


@pytest.mark.parametrize(("scenario", "condition"), OURS)
@given(d=_metres, height=st.floats(5, 60), fc=_carrier, ut=st.floats(1.5, 12.9))
@settings(max_examples=60, deadline=None)
def test_path_loss_is_that_of_the_report(
    scenario: str, condition: str, d: float, height: float, fc: float, ut: float
) -> None:
    corner = 4 * (height - 1) * (ut - 1) * fc * 1e9 / 3e8
    names = {"d3": math.hypot(d, height - ut), "fc": fc, "hbs": height, "hut": ut, "bp": corner}
    expected = _rule(scenario, condition)(d, **names)
    one = torch.tensor([d, height, fc], dtype=torch.float64)
    assert float(OURS[scenario, condition](one[0], one[1], one[2], ut)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("scenario", "probability"), [("UMa", True), ("UMi-StreetCanyon", False)])
@given(d=st.floats(1, 5000), ut=st.floats(1.5, 22.5))
@settings(max_examples=60, deadline=None)
def test_probability_of_sight_is_that_of_the_report(scenario: str, probability: bool, d: float, ut: float) -> None:
    text = _SECTION.los_probability(scenario=scenario).formula
    body = re.search(r"\\\\ (.*?) & 18m <", text).group(1)  # type: ignore[union-attr]
    rise = 0.0 if ut <= 13 else ((ut - 13) / 10) ** 1.5
    expected = 1.0 if d <= 18 else _compiled(body)(d2=d, c=rise)
    distance = torch.tensor(d, dtype=torch.float64)
    found = ours.uma_los_probability(distance, ut) if probability else ours.umi_los_probability(distance)
    assert float(found) == pytest.approx(expected, abs=1e-9)


@given(near=_metres, further=st.floats(0.1, 2000), fc=_carrier)
@settings(max_examples=40, deadline=None)
def test_further_is_never_louder(near: float, further: float, fc: float) -> None:
    d = torch.tensor([[near], [near + further]], dtype=torch.float64)
    high, low = torch.tensor([25.0], dtype=torch.float64), torch.tensor([10.0], dtype=torch.float64)
    for height in (high, low):
        loss = ours.expected_loss_db(d, height, torch.tensor([fc], dtype=torch.float64))
        # The table's far slope begins up to 0.2 dB below where its near slope ends.
        assert loss[1, 0] >= loss[0, 0] - 0.3
