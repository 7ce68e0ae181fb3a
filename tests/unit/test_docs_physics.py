"""The page on the physics of a cell: its examples run, and its figures are those of the engine."""

import re
from pathlib import Path

import pytest
import torch

from twin_core.flow.sleep_states import CATEGORY_1, CATEGORY_2, Activity, BaseStation, Sleep, cell_power
from twin_core.radio import link
from twin_core.radio.mcs import CQI, LinkAdaptation, thresholds_db
from twin_core.radio.overhead import Overhead

PAGE = (Path(__file__).parents[2] / "docs" / "physics.md").read_text(encoding="utf-8")


def _row(label: str) -> list[str]:
    """Cells of the table row that begins so."""
    found = re.search(rf"^\| {re.escape(label)} \|(.*)\|$", PAGE, re.MULTILINE)
    assert found, label
    return [cell.strip() for cell in found[1].split("|")]


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
def test_examples_run(code: str) -> None:
    exec(code, {})


def test_thresholds_are_those_of_the_engine() -> None:
    cqis = [int(c) - 1 for c in _row("SINR, dB, from which a CQI holds")]
    for label, found in (
        ("truncated Shannon bound", link.cqi_thresholds_db()),
        ("block errors of 10 %", thresholds_db(LinkAdaptation(CQI))),
    ):
        assert [float(c) for c in _row(label)] == pytest.approx([found[k] for k in cqis], abs=0.051)


@pytest.mark.parametrize(
    ("label", "prbs", "scs"),
    [("25 blocks, 15 kHz, 1 beam", 25, 15), ("51 blocks, 30 kHz", 51, 30), ("273 blocks, 30 kHz", 273, 30)],
)
def test_overheads_are_those_of_the_engine(label: str, prbs: int, scs: int) -> None:
    carrier = torch.tensor(float(prbs)), torch.tensor(float(scs))
    shares = [float(s) for s in Overhead().shares(*carrier).values()]
    found = [*shares, 1 - float(Overhead().data_share(*carrier)), float(Overhead().idle_share(*carrier))]
    assert [float(c.removesuffix(" %")) for c in _row(label)] == pytest.approx([100 * s for s in found], abs=0.051)


def test_powers_are_those_of_the_engine() -> None:
    load = torch.tensor([float(c) for c in _row("load")])
    for label, activity, allowed in (
        ("work gathered behind the burst, each 20 ms", Activity(ssb_beams=4), Sleep.DEEP),
        ("the same, a burst each 160 ms", Activity(ssb_beams=4, ssb_period_ms=160.0), Sleep.DEEP),
        ("never deeper than micro sleep", Activity(ssb_beams=4), Sleep.MICRO),
        ("all slots a little", Activity(ssb_beams=4, filled=0.01), Sleep.DEEP),
    ):
        found = cell_power(CATEGORY_1[0], load, activity, allowed=allowed)
        assert [float(c) for c in _row(label)] == pytest.approx(found.tolist(), abs=0.6)


def test_states_are_those_of_the_engine() -> None:
    def shown(of: str) -> list[list[float]]:
        return [[float(v) for v in cell.split("/")] for cell in _row(of)[:2]]

    def held(values: list[list[float]]) -> list[list[float]]:
        return [sorted(set(v), reverse=True) for v in values]

    def every(name: str) -> list[list[float]]:
        return [[float(getattr(s, name)) for s in category] for category in (CATEGORY_1, CATEGORY_2)]

    def asleep(sleep: Sleep) -> list[list[float]]:
        def power(station: BaseStation) -> float:
            return station.sleep[sleep]

        return [[power(s) for s in category] for category in (CATEGORY_1, CATEGORY_2)]

    assert shown("downlink") == every("downlink")
    assert shown("uplink") == every("uplink")
    assert shown("micro sleep") == asleep(Sleep.MICRO)
    assert shown("light sleep") == held(asleep(Sleep.LIGHT))
    assert shown("deep sleep") == held(asleep(Sleep.DEEP))
