"""Shapes of the common beam as a lever: what they do to coverage, to roll-outs and to snapshots."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from schemas.names import beam_dn
from schemas.topology import Topology
from twin_core import snapshot
from twin_core.configuration import Configuration
from twin_core.environment import Environment
from twin_core.exceptions import InvalidConfiguration
from twin_core.layouts import hexagonal
from twin_core.network import Network
from twin_core.observation import PeriodObservation
from twin_core.physics import Physics
from twin_core.radio.antenna import SHAPES_DEG, Directions, gain_dbi
from twin_core.radio.coverage import moved_rsrp, rsrp_dbm
from twin_core.settings import TwinSettings
from twin_core.twin import NOT_UNDERSTOOD, Twin
from twin_core.worlds import Ground

SITE: Topology = hexagonal(sites=1)
NETWORK = Network.of(SITE)
CELL = SITE.cells[0]
NARROW, WIDE, OWN = 1, 4, 0


def shaped(*numbers: float, network: Network = NETWORK) -> Configuration:
    """The first cells with these shapes, by name."""
    values = {(beam_dn(cell), "coverageShape"): n for cell, n in zip(network.cells, numbers, strict=False)}
    return Configuration.default(network).with_values(network, values)


def heard(off_deg: Sequence[float], away_m: Sequence[float], shape: float) -> torch.Tensor:
    """[P] RSRP of the first cell, at places so far off its boresight and away."""
    look = [math.radians(CELL.azimuth_deg + off) for off in off_deg]
    x = torch.tensor([CELL.x_m + d * math.sin(a) for d, a in zip(away_m, look, strict=True)])
    y = torch.tensor([CELL.y_m + d * math.cos(a) for d, a in zip(away_m, look, strict=True)])
    network = NETWORK.at(x, y)
    return rsrp_dbm(network, shaped(shape, network=network), torch.zeros_like(network.loss_db))[:, 0]


@pytest.mark.parametrize("narrower", [OWN, NARROW])
def test_a_wider_beam_covers_more_to_the_sides_and_reaches_less_far(narrower: int) -> None:
    sides = [float(off) for off in range(-80, 81, 5)]
    far = [200.0 + 50 * k for k in range(20)]
    around = {s: heard(sides, [300.0] * len(sides), s) for s in (narrower, WIDE)}
    ahead = {s: heard([0.0] * len(far), far, s) for s in (narrower, WIDE)}
    level = float(around[narrower].max()) - 8
    assert (around[WIDE] > level).sum() > (around[narrower] > level).sum()
    assert bool((around[WIDE] > around[narrower])[[0, -1]].all())
    assert bool((ahead[WIDE] < ahead[narrower]).all())


def test_a_taller_beam_is_heard_better_close_by_and_worse_far_away() -> None:
    flat, tall = (heard([0.0, 0.0], [60.0, 800.0], s) for s in (1, 2))
    assert float(tall[0]) > float(flat[0]) + 3
    assert float(tall[1]) < float(flat[1])


def _gain_dbi(off_deg: float, below_deg: float, shape: int) -> float:
    seen = Directions(torch.tensor([[-math.sin(math.radians(below_deg))]]), torch.tensor([[off_deg]]))
    return float(gain_dbi(seen, torch.zeros(1), torch.zeros(1), shape=torch.tensor([shape])))


def test_the_gains_in_the_documentation_are_those_of_the_twin() -> None:
    page = (Path(__file__).parents[2] / "docs" / "radio.md").read_text(encoding="utf-8").partition("## Beams")[2]
    rows = re.findall(r"^\| (\d) \| .*?\| (-?[\d.]+) \| (-?[\d.]+) \| (-?[\d.]+) \|$", page, re.MULTILINE)
    assert {int(shape) for shape, *_ in rows} == {OWN, *SHAPES_DEG}
    for shape, *told in rows:
        gains = [_gain_dbi(off, below, int(shape)) for off, below in ((0.0, 0.0), (60.0, 0.0), (0.0, 10.0))]
        assert [float(t) for t in told] == pytest.approx(gains, abs=0.051)


def test_rsrp_under_another_shape_is_as_if_found_anew_and_of_other_cells_untouched() -> None:
    none = torch.zeros_like(NETWORK.loss_db)
    before, after = shaped(OWN, 2, 3), shaped(WIDE, 2, OWN)
    known = rsrp_dbm(NETWORK, before, none)
    moved = moved_rsrp(NETWORK, known, before, after)
    assert torch.allclose(moved, rsrp_dbm(NETWORK, after, none), rtol=0, atol=1e-9)
    assert not torch.equal(moved[:, 0], known[:, 0])
    assert torch.equal(moved[:, 1], known[:, 1])
    assert moved_rsrp(NETWORK, known, before, shaped(OWN, 2, 3)) is known


def test_beams_of_other_shapes_share_neither_gains_nor_what_is_prepared() -> None:
    twin = Twin.create(SITE)
    environment = Environment.prior(NETWORK, TwinSettings())
    with pytest.raises(InvalidConfiguration, match="shape"):
        Physics.of_many(NETWORK, environment, [shaped(), shaped(WIDE)], TwinSettings())
    ground = Ground(twin, torch.arange(1, 2))
    up, still = torch.ones(3, dtype=torch.bool), torch.zeros(3, dtype=torch.float64)
    one, other = (ground.shared_physics(c, still, up) for c in (shaped(WIDE), shaped(NARROW)))
    assert one is ground.shared_physics(shaped(WIDE), still, up)
    assert not torch.equal(one.rsrp, other.rsrp)


def test_an_unknown_shape_is_refused_with_those_that_are_known() -> None:
    for number in (77, 65_535):
        with pytest.raises(
            InvalidConfiguration, match=rf"no beam of coverageShape {number} .*knows 0.* and 1, 2, 3, 4"
        ):
            shaped(number)
    for broken in (-1.0, 65_536.0, 1.5, math.nan):
        with pytest.raises(InvalidConfiguration, match="coverageShape"):
            shaped(broken)
    assert shaped(*SHAPES_DEG).shape.tolist() == [1, 2, 3]


def test_an_unknown_shape_in_telemetry_is_marked_and_the_rest_taken() -> None:
    beams = [beam_dn(cell) for cell in SITE.cell_names]
    reported = {(beams[0], "coverageShape"): 77.0, (beams[1], "coverageShape"): 3.0, (beams[1], "digitalTilt"): 40.0}
    after = Twin.create(SITE).apply(PeriodObservation(60_000, 60, configuration=reported), {})
    assert after.marks[NOT_UNDERSTOOD] == 1
    assert after.configuration.shape.tolist() == [0, 3, 0]
    assert after.configuration.tilt_deg[1] == 4


def _version(data: bytes) -> int:
    length = int.from_bytes(data[:8], "little")
    return int(json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["twinloop"])["version"])


def test_a_snapshot_carries_shapes_and_a_twin_without_any_is_written_as_before() -> None:
    plain = Twin.create(SITE)
    twin = replace(plain, configuration=shaped(OWN, WIDE))
    data = twin.snapshot()
    again = Twin.restore(data)
    assert again.snapshot() == data
    assert again.configuration.same_as(twin.configuration)
    assert again.state_hash() == twin.state_hash() != plain.state_hash()
    assert _version(data) == snapshot.SHAPED_VERSION
    assert _version(plain.snapshot()) == snapshot.FORMAT_VERSION
    assert b"configuration.shape" not in plain.snapshot()
    assert Twin.restore(plain.snapshot()).configuration.same_as(plain.configuration)
    # Back to the panels' own beams it is the twin that it was.
    assert replace(twin, configuration=shaped(OWN, OWN)).state_hash() == plain.state_hash()
