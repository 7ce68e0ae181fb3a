"""`twinloop models`: what a person sees and may order, with files good and bad."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from infra.cli.models import app
from infra.model_orders import promote_file
from infra.roles.base import Context
from tests.twin_runs import followed
from tests.unit.test_twin_core_models import missing
from twin_core.learned.models import dump, to_json

pytestmark = pytest.mark.integration
Command = Callable[..., Result]


@pytest.fixture
def context(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Context:
    """A network with one revision; commands reach its topics in memory."""
    return followed(database_url, monkeypatch)


@pytest.fixture
def models(context: Context) -> Command:
    runner = CliRunner()
    return lambda *words: runner.invoke(app, list(words))


def test_a_file_is_promoted_listed_shown_and_rolled_back(context: Context, models: Command, tmp_path: Path) -> None:
    assert "no models yet" in models("list").stdout
    good, out = tmp_path / "good.safetensors", tmp_path / "out.json"
    good.write_bytes(dump(missing(0.1)))
    promoted = json.loads(
        models("promote", "kpi-residual", "--file", str(good), "--as", "anna", "--reason", "tried", "--json").stdout
    )
    version = promoted["in_force"]
    (row,) = json.loads(models("list", "--json").stdout)["models"]
    assert (row["version"], row["state"], row["actor"]) == (version, "promoted", "person:anna")
    assert "not taken up yet" in models("list").stdout.replace("\n", " ")
    shown = json.loads(models("show", "kpi-residual", version, "--parameters", str(out), "--json").stdout)
    assert shown["lineage"] == [version]
    assert shown["parameters"] == json.loads(out.read_text(encoding="utf-8")) == to_json(missing(0.1))
    assert promote_file(context, "kpi-residual", out, "person:anna", "").parent == version, "what is written is read"
    told = json.loads(models("rollback", "kpi-residual", "--json").stdout)
    assert told["in_force"] == version


def test_bad_input_gets_cause_and_remedy(models: Command, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(to_json(missing(0.1))).replace("0.1", "NaN", 1), encoding="utf-8")
    assert models("promote", "kpi-residual", "--file", str(bad)).exit_code == 1
    assert models("promote", "oracle", "--file", str(bad)).exit_code == 1
    assert models("show", "kpi-residual", "r9").exit_code == 1
    assert models("rollback", "kpi-residual").exit_code == 1
    assert models("promote", "kpi-residual").exit_code == 2
    listed = json.loads(models("list", "--json").stdout)
    assert [row["state"] for row in listed["models"]] == ["refused", "refused"]
    assert "NaN" in listed["models"][0]["reason"] + listed["models"][1]["reason"]
