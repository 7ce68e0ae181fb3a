"""Coupling gain and geometry against what 21 companies reported to 3GPP (R1-165974, TR 38.901 clause 7.8.1)."""

import csv
from importlib.resources import files

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from schemas.topology import Topology
from twin_core.layouts import hexagonal
from twin_core.radio.drop import DropSettings, drop
from twin_core.radio.penetration import IRR_GLASS_BEFORE_R19

# Scenario: distance between sites, antenna height, transmit power; Table 7.8-1 at 6 GHz and 20 MHz.
CASES = {"UMa": (500.0, 25.0, 49.0), "UMi": (200.0, 10.0, 44.0)}
_NOISE_DBM = -174 + 10 * np.log10(20e6) + 9
_TILT_DEG = 12.0
_DROPS, _USERS = 4, 3000


def _reported(scenario: str) -> dict[str, NDArray[np.float64]]:
    """Percentiles, and least and most of each metric over the companies."""
    text = (files("handoverlab.verify") / "data" / "r1_165974.csv").read_text(encoding="utf-8")
    rows = [r for r in csv.DictReader(text.splitlines()) if r["scenario"] == f"{scenario}-6GHz"]
    rows = [r for r in rows if 1 <= float(r["cdf_percent"]) <= 99]
    return {name: np.array([float(r[name]) for r in rows]) for name in rows[0] if name != "scenario"}


def _layout(scenario: str) -> Topology:
    isd, height, _ = CASES[scenario]
    layout = hexagonal(19, isd, height_m=height, carriers_ghz=(6.0,), wraparound=True)
    cells = tuple(c.model_copy(update={"scenario": scenario, "panel_rows": 10}) for c in layout.cells)
    return layout.model_copy(update={"cells": cells})


@pytest.mark.parametrize("scenario", CASES)
def test_coupling_gain_and_geometry_lie_among_those_of_the_companies(scenario: str) -> None:
    layout, how = _layout(scenario), DropSettings(irr_glass=IRR_GLASS_BEFORE_R19)
    drops = [drop(layout, _USERS, seed, how, _TILT_DEG).gain_db for seed in range(_DROPS)]
    gain = torch.cat(drops).numpy()
    received = 10 ** ((CASES[scenario][2] + gain) / 10)
    signal = received.max(axis=1)
    others = received.sum(axis=1) - signal
    metrics = {
        "coupling_gain_db": gain.max(axis=1),
        "sinr_db": 10 * np.log10(signal / (others + 10 ** (_NOISE_DBM / 10))),
        "sir_db": 10 * np.log10(signal / others),
    }
    reported = _reported(scenario)
    for name, values in metrics.items():
        found = np.percentile(values, reported["cdf_percent"])
        outside = (found < reported[f"{name}_min"]) | (found > reported[f"{name}_max"])
        assert not outside.any(), (name, reported["cdf_percent"][outside], found[outside])
