"""Path loss against the formulas of TR 38.901 as tr3gpp carries them, evaluated from their LaTeX."""

import math
import re
from collections.abc import Callable
from functools import cache
from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tr3gpp import tr38901

from twin_core.radio import path_loss as ours
from twin_core.radio import penetration

_SECTION = tr38901.section("7.4")
Formula = Callable[..., float]


_SYMBOLS = (
    (r"\log_{10}", " log10 "), (r"\exp", " exp "), (r"\max", " max "), (r"\left[", "("), (r"\right]", ")"),
    (r"\left(", "("), (r"\right)", ")"), ("C'(h_{UT})", " c "), ("d'_{BP}", " bp "), ("d_{3D}", " d3 "),
    ("d_{2D-out}", " d2 "), ("f_c", " fc "), ("h_{BS}", " hbs "), ("h_{UT}", " hut "), (r"\min", " min "),
    (r"\pi", " pi "), ("d_{BP}", " bp "), ("^{1.72}", "^1.72"), ("W", " w "),
)  # fmt: skip
_FUNCTIONS = {"log10": math.log10, "exp": math.exp, "max": max, "min": min, "pi": math.pi}


def _python(latex: str) -> str:
    """A formula's right-hand side as Python."""
    for old, new in _SYMBOLS:
        latex = latex.replace(old, new)
    latex = re.sub(r"\\dfrac\{([^{}]*)\}\{([^{}]*)\}", r"((\1)/(\2))", latex)
    out: list[str] = []
    for token in re.findall(r"[\d.]+|[a-z]\w*|[-+/^(),]", latex):
        # What stands side by side is multiplied.
        called = out and callable(_FUNCTIONS.get(out[-1]))
        if out and re.match(r"[\w(]", token) and re.match(r"[\w.)]", out[-1]) and not called:
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
    first = re.search(r"PL_1 = (.*?); ", los).group(1)  # type: ignore[union-attr]
    near = _compiled(first)
    second = re.search(r"PL_2 = (.*)", los).group(1)  # type: ignore[union-attr]
    far = _compiled(second.replace("PL_1(d_{BP})", first.replace("d_{3D}", "d_{BP}")))

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
    ("RMa", "LOS"): ours.rma_los_db,
    ("RMa", "NLOS"): ours.rma_nlos_db,
}
_metres = st.floats(10, 5000)
_carrier = st.floats(0.5, 100)


@pytest.mark.parametrize(("scenario", "condition"), OURS)
@given(d=_metres, height=st.floats(10, 60), fc=_carrier, ut=st.floats(1.5, 9.9))
@settings(max_examples=60, deadline=None)
def test_path_loss_is_that_of_the_report(
    scenario: str, condition: str, d: float, height: float, fc: float, ut: float
) -> None:
    corner = 4 * (height - 1) * (ut - 1) * fc * 1e9 / 3e8
    if scenario == "RMa":
        corner = 2 * math.pi * height * ut * fc * 1e9 / 3e8
    streets = {"h": ours.BUILDING_HEIGHT_M, "w": ours.STREET_WIDTH_M}
    names = streets | {"d3": math.hypot(d, height - ut), "fc": fc, "hbs": height, "hut": ut, "bp": corner}
    expected = _rule(scenario, condition)(d, **names)
    one = torch.tensor([d, height, fc], dtype=torch.float64)
    assert float(OURS[scenario, condition](one[0], one[1], one[2], ut)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("scenario", "name"), [("UMa", "UMa"), ("UMi-StreetCanyon", "UMi"), ("RMa", "RMa")])
@given(d=st.floats(1, 5000), ut=st.floats(1.5, 22.5))
@settings(max_examples=60, deadline=None)
def test_probability_of_sight_is_that_of_the_report(scenario: str, name: ours.Scenario, d: float, ut: float) -> None:
    text = _SECTION.los_probability(scenario=scenario).formula
    body, edge = re.search(r"\\\\ (.*?) & (\d+)m <", text).groups()  # type: ignore[union-attr]
    rise = 0.0 if ut <= 13 else ((ut - 13) / 10) ** 1.5
    expected = 1.0 if d <= float(edge) else _compiled(body)(d2=d, c=rise)
    found = ours.MODELS[name].los_probability(torch.tensor(d, dtype=torch.float64), ut)
    assert float(found) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", ours.MODELS)
def test_shadowing_is_that_of_the_report(name: ours.Scenario) -> None:
    table = {"UMi": "UMi-StreetCanyon"}.get(name, name)
    reported = [_SECTION.pathloss(scenario=table, condition=c).shadow_fading_std_db for c in ("LOS", "NLOS")]
    in_sight, blocked = ([float(s.value_db) for s in entry] for entry in reported)
    assert ours.MODELS[name].shadow_db == (in_sight[0], in_sight[-1], blocked[0])


_O2I = _SECTION.o2i_penetration_loss
_MATERIALS = {"Standard multi-pane glass": "glass", "IRR glass": "irr_glass", "Concrete": "concrete",
              "Plywood": "plywood", "Wood": "wood"}  # fmt: skip


@given(fc=_carrier)
@settings(max_examples=30, deadline=None)
def test_walls_lose_what_the_report_says(fc: float) -> None:
    carrier = torch.tensor(fc, dtype=torch.float64)
    loss = {}
    for entry in _O2I.materials:
        symbol, formula = re.match(r"L_\{(\w+)\} = (.*)", entry.formula).groups()  # type: ignore[union-attr]
        loss[symbol] = _compiled(formula)(f=fc)
        material = cast(penetration.Material, _MATERIALS[entry.material])
        assert float(penetration.material_db(material, carrier)) == pytest.approx(loss[symbol], abs=1e-9)
    walls = {"Low": penetration.LOW_LOSS, "Low A": penetration.LOW_LOSS_A, "High": penetration.HIGH_LOSS}
    for model in _O2I.building_models:
        through = sum(
            float(share) * 10 ** (-loss[symbol] / 10)
            for share, symbol in re.findall(r"([\d.]+)\\cdot10\^\{-L_\{(\w+)\}", model.pl_tw_formula)
        )
        wall = walls[model.model.removesuffix("-loss model").replace("-loss A model", " A")]
        assert float(penetration.wall_db(wall, carrier)) == pytest.approx(5 - 10 * math.log10(through), abs=1e-9)
        assert wall.spread_db == model.std_p_db


@given(near=_metres, further=st.floats(0.1, 2000), fc=_carrier)
@settings(max_examples=40, deadline=None)
def test_further_is_never_louder(near: float, further: float, fc: float) -> None:
    d = torch.tensor([[near], [near + further]], dtype=torch.float64)
    high, low = torch.tensor([25.0], dtype=torch.float64), torch.tensor([10.0], dtype=torch.float64)
    for height in (high, low):
        loss = ours.expected_loss_db(d, height, torch.tensor([fc], dtype=torch.float64))
        # The table's far slope begins up to 0.2 dB below where its near slope ends.
        assert loss[1, 0] >= loss[0, 0] - 0.3
