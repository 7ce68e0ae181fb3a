"""Learned models in the twin: parameters that turn predictions and roll-outs alike, within bounds, or are refused."""

import json
from dataclasses import replace
from typing import Any, cast

import pytest
import torch

from tests.unit.toy_network import run
from twin_core.exceptions import InvalidModel
from twin_core.kpis import PRB, THROUGHPUT, USERS, VOLUME, kpi_index
from twin_core.learned.demand_model import INPUTS as DEMAND_INPUTS
from twin_core.learned.demand_model import LARGEST, DemandModel
from twin_core.learned.models import Model, dump, to_json, within
from twin_core.learned.residual_model import CORRECTED, INPUTS, ResidualModel
from twin_core.learned.residual_model import LARGEST as LARGEST_CORRECTION
from twin_core.rollout import rollout
from twin_core.scenarios import Scenarios
from twin_core.twin import MODEL_VERSIONS, Twin

WIDE = 1e3


def growing(log: float, *, low: float = -WIDE, high: float = WIDE) -> DemandModel:
    """A forecast that says of every cell the same, whatever it did."""
    f = len(DEMAND_INPUTS)
    weights = torch.zeros(2, 2, f, dtype=torch.float64)
    weights[:, :, DEMAND_INPUTS.index("one")] = log
    bounds = torch.ones(f, dtype=torch.float64)
    return DemandModel("grow", torch.tensor([1.0, 8.0], dtype=torch.float64), weights, low * bounds, high * bounds)


def missing(log: float, *, low: float = -WIDE, high: float = WIDE) -> ResidualModel:
    """A correction that says of every cell the same: throughput is off by so much, resource blocks are not."""
    f, k = len(INPUTS), len(CORRECTED)
    constant = torch.zeros(k, dtype=torch.float64)
    constant[CORRECTED.index(THROUGHPUT)] = log

    def zeros(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=torch.float64)

    one = torch.ones(f, dtype=torch.float64)
    return ResidualModel(
        "off", zeros(f), one, zeros(f, 3), zeros(3), zeros(3, k), zeros(f, k), constant, low * one, high * one
    )


def holding(twin: Twin, *models: Model) -> Twin:
    """The twin with models that went through their bytes."""
    for model in models:
        twin = twin.with_model(model.NAME, model.version, dump(model))
    return twin


def test_a_forecast_of_more_demand_turns_predictions_and_roll_outs_alike() -> None:
    twin = run().twin
    more = holding(twin, growing(0.2))
    ratio = more.predicted[VOLUME] / twin.predicted[VOLUME]
    assert torch.allclose(ratio.sum() / len(ratio), torch.tensor(1.22, dtype=torch.float64), atol=0.02)
    assert bool((more.predicted[PRB] >= twin.predicted[PRB]).all())
    scenarios = Scenarios.nominal(twin.network, horizon=3)
    for t in (twin, more):
        rolled = rollout(t, t.configuration, scenarios).kpis[0]
        forecast = t.forecast(torch.arange(1, 4))
        for kpi in (PRB, THROUGHPUT, VOLUME, USERS):
            m = kpi_index(kpi)
            assert torch.allclose(rolled[:, m], forecast[:, m], rtol=1e-3, atol=1e-2), kpi


def test_a_correction_turns_predictions_and_roll_outs_of_cells_and_network_alike() -> None:
    twin = run().twin
    off = holding(twin, missing(0.1))
    assert torch.allclose(off.predicted[PRB], twin.predicted[PRB])
    said = 0.3 * torch.tanh(torch.tensor(0.1 / 0.3, dtype=torch.float64)).exp().log()
    ratio = (off.predicted[THROUGHPUT] + 100) / (twin.predicted[THROUGHPUT] + 100)
    assert torch.allclose(ratio, said.exp().expand_as(ratio))
    scenarios = Scenarios.nominal(twin.network)
    plain, corrected = (rollout(t, t.configuration, scenarios) for t in (twin, off))
    m = kpi_index(THROUGHPUT)
    assert torch.allclose(corrected.kpis[0, 0, m], off.predicted[THROUGHPUT], rtol=1e-3)
    assert 1.09 < float(corrected.network[0, 0, m] / plain.network[0, 0, m]) < 1.11
    other = [i for i in range(corrected.network.shape[-1]) if i != m]
    assert torch.allclose(corrected.network[0, 0, other], plain.network[0, 0, other], rtol=1e-5)


def test_a_cell_off_the_air_is_not_corrected() -> None:
    off = holding(run().twin, missing(0.1))
    active = off.configuration.active.clone()
    active[0] = False
    kpis = rollout(off, replace(off.configuration, active=active), Scenarios.nominal(off.network)).kpis[0, 0]
    assert bool(kpis[kpi_index(THROUGHPUT), 0].isnan())
    assert float(kpis[kpi_index(PRB), 0]) == 0


def test_without_models_nothing_is_turned() -> None:
    twin = run().twin
    back = holding(twin, growing(0.2), missing(0.1)).without_model("demand-forecast").without_model("kpi-residual")
    assert back.state_hash() == twin.state_hash()
    for kpi, value in twin.predicted.items():
        assert torch.equal(back.predicted[kpi], value) or bool(value.isnan().any())
    assert back.model_versions == MODEL_VERSIONS


def test_what_a_model_says_is_bounded() -> None:
    twin = run().twin
    wild = holding(twin, growing(50.0), missing(50.0))
    users = wild.predicted[USERS] / twin.predicted[USERS].clamp_min(1e-9)
    assert float(users.max()) <= float(torch.tensor(LARGEST).exp()) * (1 + 1e-6)
    uncorrected = wild.without_model("kpi-residual").predicted[THROUGHPUT]
    ratio = (wild.predicted[THROUGHPUT] + 100) / (uncorrected + 100)
    assert float(ratio.max()) <= float(torch.tensor(LARGEST_CORRECTION).exp()) * (1 + 1e-6)


def test_a_model_says_nothing_outside_the_range_it_has_seen() -> None:
    twin = run().twin
    elsewhere = holding(twin, growing(0.2, low=WIDE, high=2 * WIDE), missing(0.1, low=WIDE, high=2 * WIDE))
    for kpi in (PRB, VOLUME, USERS):
        assert torch.allclose(elsewhere.predicted[kpi], twin.predicted[kpi], rtol=1e-12), kpi
    bounds = torch.tensor([0.0]), torch.tensor([1.0])
    faded = [float(within(torch.tensor([[x]]), *bounds)[0]) for x in (1.0, 1.1, 1.2, 1.3)]
    assert faded == sorted(faded, reverse=True)
    assert (faded[0], faded[-1]) == (1.0, 0.0)


def test_models_and_memory_travel_in_the_snapshot() -> None:
    twin = holding(run().twin, growing(0.2), missing(0.1))
    again = Twin.restore(twin.snapshot())
    assert again.state_hash() == twin.state_hash()
    assert again.state_hash() != run().twin.state_hash()
    assert again.model_versions["demand-forecast"] == "grow"
    seen = run().observations[-1]
    later = replace(seen, period_end_ms=seen.period_end_ms + 60_000)
    assert again.apply(later, {}).state_hash() == twin.apply(later, {}).state_hash()


def test_json_says_the_same_as_safetensors() -> None:
    twin, model = run().twin, growing(0.2)
    text = json.dumps(to_json(model)).encode()
    assert twin.with_model(model.NAME, "grow", text).state_hash() == holding(twin, model).state_hash()


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("demand-forecast", b"PK garbage", "neither safetensors nor JSON"),
        ("demand-forecast", b'{"weights": "many"}', "neither safetensors nor JSON"),
        ("demand-forecast", b"{}", "this one has none"),
        ("oracle", b"{}", "no learned model 'oracle'"),
    ],
)
def test_bytes_that_are_no_model_are_refused(name: str, data: bytes, why: str) -> None:
    twin = run().twin
    before = twin.state_hash()
    with pytest.raises(InvalidModel, match=why):
        twin.with_model(name, "1", data)
    assert twin.state_hash() == before


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("weights", torch.full((2, 2, len(DEMAND_INPUTS)), torch.nan), "weights holds NaN"),
        ("weights", torch.full((2, 2, len(DEMAND_INPUTS)), 1e9), "beyond 1e"),
        ("weights", torch.zeros(2, 2, 3), r"shape \(2, 2, 3\)"),
        ("horizons", torch.tensor([8.0, 1.0]), "ascending"),
        ("low", torch.zeros(1), "low has shape"),
    ],
)
def test_parameters_that_must_not_be_used_are_refused(field: str, value: torch.Tensor, why: str) -> None:
    spoiled = replace(growing(0.2), **cast("dict[str, Any]", {field: value.double()}))
    with pytest.raises(InvalidModel, match=why):
        holding(run().twin, spoiled)


def test_memory_moves_with_the_users_when_a_cell_is_locked() -> None:
    """A cell that hands its users over has not lost its demand, and who inherits them has not gained any."""
    made = run()
    twin, seen = made.twin, made.observations[-1]
    cell = int(torch.argmax(twin.predicted[USERS]))
    name = twin.network.cells[cell]
    later = replace(
        seen, period_end_ms=seen.period_end_ms + 60_000, configuration={(name, "administrativeState"): "LOCKED"},
        counters={k: v.copy() for k, v in seen.counters.items()},
    )  # fmt: skip
    for values in later.counters.values():
        values[:] = float("nan")  # nothing is reported, so that what changes is what was moved
    after = twin.apply(later, {})
    before_level, after_level = twin.memory.level()[1], after.memory.level()[1]
    moved = (after_level - before_level).exp()[1]
    heirs = torch.arange(len(moved)) != cell
    assert float(moved[heirs].max()) > 1.2
    assert float(moved[heirs].min()) > 0.99
    assert torch.allclose(after_level[:, cell], before_level[:, cell])
