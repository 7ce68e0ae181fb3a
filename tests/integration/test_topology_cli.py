"""`twinloop topology` on the network and the twin in the database."""

import json
from pathlib import Path

import pytest
import rasterio
from typer.testing import CliRunner

from infra.cli.topology import app
from tests.telemetry import CELLS
from tests.twin_runs import followed
from twin_core.exchange.topology_files import read_topology

pytestmark = pytest.mark.integration


def test_a_network_and_its_twin_become_files(
    database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    followed(database_url, monkeypatch)

    run = CliRunner()
    moved, drawn = tmp_path / "network.geojson", tmp_path / "rsrp.tif"
    assert run.invoke(app, ["export", str(moved)]).exit_code == 1, "a network in metres is nowhere on the earth"
    assert run.invoke(app, ["export", str(moved), "--origin", "50.11,8.68"]).exit_code == 0
    assert read_topology(moved).cell_names == CELLS
    told = json.loads(run.invoke(app, ["map", str(drawn), "--show", "rsrp", "--json"]).stdout)
    assert (told["revision"], told["origin"]) == (1, None)
    with rasterio.open(drawn) as file:
        assert file.descriptions == CELLS
        assert file.tags()["revision"] == "1"
    assert run.invoke(app, ["map", str(tmp_path / "best.png"), "--at", "1"]).exit_code == 0
    assert run.invoke(app, ["map", str(tmp_path / "no.png"), "--at", "9"]).exit_code == 1
    assert not (tmp_path / "no.png").exists()
