"""What every class of scenario must keep, whoever wrote it. Runs over those of twinloop and all that are installed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from loops.exceptions import BadScenario
from loops.inner.evaluate import evaluate
from loops.inner.scenarios import GROUP, ScenarioSet, load_scenario, offered
from loops.inner.sharding import Job
from tests.installed import install
from tests.unit import inner_fakes as fake
from tests.unit.toy_network import run
from twin_core.network import Network
from twin_core.scenarios import CLASSES, Scenarios

NETWORK = Network.of(run().twin.network.topology)
FIELDS = [name for name in vars(Scenarios.nominal(NETWORK)) if name != "classes"]
NIGHT = """
from dataclasses import replace
import torch

def fog(usual, network, random):
    loss = 3 + 3 * torch.rand(1, len(network.cells), generator=random, dtype=torch.float64)
    return replace(usual, path_loss_offset_db=usual.path_loss_offset_db + loss)

def infinite(usual, network, random):
    return replace(usual, demand_factor=usual.demand_factor / 0)

def longer(usual, network, random):
    from twin_core.scenarios import Scenarios
    return Scenarios.nominal(network, 2, usual.horizon)

def wordless(usual, network, random):
    return "it is foggy"
"""
BAD = {"infinite": "not finite", "longer": "made 2 worlds", "wordless": "AttributeError", "absent": "cannot be loaded"}

Draw = Callable[..., Scenarios]


@pytest.fixture(autouse=True)
def extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that offers a class, and some that are no good."""
    named = {n: f"weather:{n}" for n in ("fog", *BAD)}
    install(tmp_path, monkeypatch, {"weather": NIGHT}, {GROUP: named})
    load_scenario.cache_clear()


@pytest.fixture(params=[*CLASSES, "fog"])
def name(request: pytest.FixtureRequest) -> str:
    """Each class that is good."""
    return str(request.param)


def of(*classes: str) -> ScenarioSet:
    return ScenarioSet(classes=("nominal", *(c for c in classes if c != "nominal")))


def draw(classes: list[str], first: int = 0, seed: int = 5) -> Scenarios:
    return of(*dict.fromkeys(classes)).draw(NETWORK, classes, 6, seed, first)


def row(scenarios: Scenarios, i: int) -> dict[str, torch.Tensor]:
    return {name: getattr(scenarios, name)[i] for name in FIELDS}


def test_what_is_drawn_is_a_world(name: str) -> None:
    drawn = draw([name] * 4)
    drawn.check(len(NETWORK.cells))
    assert drawn.classes == (name,) * 4


def test_a_scenario_does_not_depend_on_the_shard_it_travels_in(name: str) -> None:
    whole = draw(["nominal", name, "surge", name])
    alone = draw([name], first=3)
    assert all(torch.equal(a, row(alone, 0)[f]) for f, a in row(whole, 3).items())


def test_scenarios_differ_from_one_another_and_with_the_seed(name: str) -> None:
    a, b, c = (row(s, 0) for s in (draw([name]), draw([name], first=1), draw([name], seed=6)))
    assert any(not torch.equal(a[f], b[f]) for f in FIELDS)
    assert any(not torch.equal(a[f], c[f]) for f in FIELDS)


def test_the_others_are_not_touched(name: str) -> None:
    beside = draw(["nominal", name])
    alone = draw(["nominal"])
    assert all(torch.equal(a, row(alone, 0)[f]) for f, a in row(beside, 0).items())


def test_an_added_class_adds_to_the_usual_variation_with_numbers_of_its_own() -> None:
    foggy, usual = draw(["fog"]), draw(["nominal"])
    assert torch.equal(foggy.demand_factor, usual.demand_factor)
    assert float(foggy.path_loss_offset_db.min()) >= 3
    same = torch.rand(1, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(foggy.path_loss_offset_db[0, :1], same)


@pytest.mark.parametrize(("bad", "why"), BAD.items())
def test_a_bad_class_ends_its_shard_with_an_error_that_names_it(bad: str, why: str) -> None:
    with pytest.raises(BadScenario, match=f"{bad}.*{why}"):
        draw([bad])
    job = fake.job()
    scenarios = of(bad)
    job = Job(job.strategy, job.revision, job.design.model_copy(update={"scenarios": scenarios}), job.cells, job.seed)
    result = evaluate(job.shards[0], replace(run().twin), "w")
    assert why in result.error


def test_a_class_that_nobody_offers_is_refused_where_it_is_named() -> None:
    assert "fog" in offered()
    with pytest.raises(ValidationError, match=r"no class of scenario 'plague'; there are nominal, .*fog"):
        of("plague")
