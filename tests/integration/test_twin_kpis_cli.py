"""`twinloop twin kpis` on the network and the twin in the database."""

import json

import pytest
from typer.testing import CliRunner

from infra.cli.twin import app
from schemas.names import short_name
from tests.telemetry import CELLS, NETWORK
from tests.twin_runs import followed

pytestmark = pytest.mark.integration


def test_kpis_of_the_twin_are_shown_and_told(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    followed(database_url, monkeypatch)

    run = CliRunner()
    shown = run.invoke(app, ["kpis", "--at", "1"])
    assert shown.exit_code == 0, shown.output
    told = json.loads(run.invoke(app, ["kpis", "--json"]).stdout)
    assert (told["network_id"], told["revision"], list(told["cells"])) == (NETWORK, 1, list(CELLS))
    for name in ("TL.UEThpDl.P5", "MM.HoExeInterReq", "RRU.PrbUsedDl"):
        assert told["network"][name] == pytest.approx(told["network"][name]), "a number, not null"
        assert told["units"][name]
    assert sum(e["PEE.AvgPower"] for e in told["elements"].values()) == pytest.approx(told["network"]["PEE.AvgPower"])
    assert "RRU.PrbTotUl" in told["missing"]

    one = json.loads(run.invoke(app, ["kpis", "--cell", short_name(CELLS[1]), "--cell", CELLS[0], "--json"]).stdout)
    assert list(one["cells"]) == [CELLS[1], CELLS[0]]
    assert run.invoke(app, ["kpis", "--cell", "gnb99-1"]).exit_code == 1
    assert run.invoke(app, ["kpis", "--at", "9"]).exit_code == 1
    assert run.invoke(app, ["kpis", "--at", "yesterday"]).exit_code == 2
