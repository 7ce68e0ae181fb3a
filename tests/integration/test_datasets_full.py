"""The real recordings: what they hold, and how well twinloop predicts them.

Scores are bounds that today's models keep with room to spare; they move only when a model or the mapping changes.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from infra.datasets import replay_dataset, tractor, tractor_forecast
from infra.datasets.report import DatasetReport, ScoreTable
from infra.datasets.scores import Score
from infra.demo.counting import count_topics
from infra.local.services import Endpoints
from schemas.registry import connect, register
from streams.kafka import KafkaTransport
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds, RegistryIds
from streams.serde import Serde
from tests.recordings import real

# The drives take a minute on a quiet machine, several on a busy one.
pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def found(scores: tuple[Score, ...], what: str, scope: str) -> Score:
    (score,) = (s for s in scores if s.what.startswith(what) and s.scope == scope)
    return score


def table(report: DatasetReport, title: str) -> ScoreTable:
    (one,) = (t for t in report.tables if t.title.startswith(title))
    return one


@pytest.fixture(scope="module")
def cells() -> tractor.TractorRecording:
    return tractor.read(real("tractor"))


@pytest.fixture(scope="module")
def forecasts(cells: tractor.TractorRecording) -> tractor_forecast.Result:
    series = tractor_forecast.Series.of(cells)
    trial = cells.reports.groupby("period_end_ms")["trial"].first().reindex(series.end_ms)
    return tractor_forecast.evaluate(series, trial.to_numpy().astype(str), cells.topology.cell_names)


def test_tractor_is_seven_cells_whose_impossible_bins_are_suspect(cells: tractor.TractorRecording) -> None:
    assert len(cells.topology.cells) == 7
    assert cells.traps["bins above 12500 granted PRB (suspect)"] == 13
    assert cells.reports["suspect"].sum() == 13
    good = cells.reports[~cells.reports["suspect"]]
    assert good["RRU.PrbTotDl"].max() <= 100
    # Every bit and every granted PRB of the rows is in some report, up to seconds that were recorded in part.
    files = sorted(real("tractor").glob("*.parquet"))
    rows = pd.concat(pd.read_parquet(f, columns=["dl_mbps", "sum_granted_prbs"]) for f in files)
    assert cells.reports["DRB.PdcpSduVolumeDL"].sum() == pytest.approx(250 * rows["dl_mbps"].sum(), rel=0.002)
    assert 1000 * cells.reports["RRU.PrbUsedDl"].sum() == pytest.approx(rows["sum_granted_prbs"].sum(), rel=0.005)


@pytest.mark.parametrize("scheme", ["forward-chaining", "held-out trial"])
@pytest.mark.parametrize("kpi", ["PRB use", "cell throughput"])
def test_tractor_forecasts_beat_persistence(forecasts: tractor_forecast.Result, kpi: str, scheme: str) -> None:
    for scope in ("all", "busy"):
        one = found(forecasts.scores, f"{kpi}, one step", f"{scheme}, {scope}")
        eight = found(forecasts.scores, f"{kpi}, eight steps", f"{scheme}, {scope}")
        assert one.rmse.low > 0.08
        assert eight.rmse.low > 0.15
        assert one.mae.low > -0.02
        assert eight.mae.low > 0.07
        assert min(one.coverage, eight.coverage) >= 0.88


def test_tractor_forecasts_keep_to_the_physical_limit(forecasts: tractor_forecast.Result) -> None:
    assert forecasts.above_limit == 0
    used = forecasts.rows[forecasts.rows["kpi"] == "PRB use"]
    assert used[["low", "median", "mean"]].min().min() >= 0
    assert used["high"].max() <= tractor.PRBS


@pytest.mark.integration
def test_tractor_goes_through_kafka_into_twin_state_and_nothing_is_lost(endpoints: Endpoints, tmp_path: Path) -> None:
    register(connect(endpoints.registry_url))
    transport = KafkaTransport(endpoints.bootstrap_servers)
    serde = Serde(RegistryIds(endpoints.registry_url))
    before = count_topics(endpoints.bootstrap_servers, tractor.NAME)
    report = replay_dataset("tractor", real("tractor"), transport, serde, tmp_path, limit=500)
    after = count_topics(endpoints.bootstrap_servers, tractor.NAME)
    transport.close()
    events = report.events
    assert report.periods == report.twin["revision"] == 500
    assert events["ingested"] == after.ingested - before.ingested
    assert events["ingested"] == events["applied"]
    assert after.dead_lettered == before.dead_lettered
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["scores"]


@pytest.fixture(scope="module")
def of_drives(tmp_path_factory: pytest.TempPathFactory) -> DatasetReport:
    """The whole replay of the drives."""
    out = tmp_path_factory.mktemp("cicv5g")
    return replay_dataset("cicv5g", real("cicv5g"), MemoryTransport(), Serde(LocalIds()), out)


def test_the_log_of_the_drives_repeats_few_measurements_many_times(of_drives: DatasetReport) -> None:
    assert of_drives.facts["rows"] == 72_160
    assert of_drives.facts["measurements among them"] == 300
    assert of_drives.facts["seconds between measurements"] == pytest.approx(13.2, abs=0.2)
    assert of_drives.events["ingested"] == of_drives.events["applied"]
    assert of_drives.twin["revision"] == of_drives.periods


def test_knn_is_as_published(of_drives: DatasetReport) -> None:
    scores = table(of_drives, "RSRP on days not fitted").scores
    assert found(scores, "n8 refresh", "all").rmse.peer == pytest.approx(4.9, abs=0.15)
    assert found(scores, "n78 refresh", "mapped").rmse.peer == pytest.approx(12.5, abs=0.4)


def test_the_field_model_beats_knn_on_days_it_has_not_seen(of_drives: DatasetReport) -> None:
    scores = table(of_drives, "RSRP on days not fitted").scores
    for way, skill in (("track", 0.1), ("refresh", 0.2)):
        assert found(scores, f"n8 {way}", "mapped").rmse.low > skill
    assert found(scores, "n8 refresh", "all").rmse.low > 0.05
    assert found(scores, "n8 refresh", "all").rmse.ours < 4.2
    # n78 differs by 11.7 dB between its two urban days, which no map can know: no better, no worse.
    n78 = found(scores, "n78 refresh", "mapped").rmse
    assert n78.low < 0 < n78.high
    fair = table(of_drives, "the same").scores
    assert found(fair, "n8 refresh", "mapped").rmse.low > 0.2
    assert found(fair, "n78 refresh", "mapped").rmse.low > 0


def test_ten_seconds_of_a_drive_reveal_the_offset_of_its_day(of_drives: DatasetReport) -> None:
    scores = table(of_drives, "after the first 10 s").scores
    assert found(scores, "n78 refresh", "mapped, adapted").rmse.ours < 5.2
    assert found(scores, "n78 refresh", "mapped, unadapted").rmse.ours > 10
    assert found(scores, "n78 refresh", "mapped, adapted").coverage > 0.9
    # Where days hardly differ, adapting must do no harm.
    n8 = [found(scores, "n8 refresh", f"all, {how}").rmse.ours for how in ("unadapted", "adapted")]
    assert n8[1] < n8[0] + 0.1


def test_within_runs_the_field_is_unbiased_and_knows_its_error(of_drives: DatasetReport) -> None:
    for score in table(of_drives, "same run").scores:
        assert abs(score.bias) < 0.3
        assert 0.84 <= score.coverage <= 0.95
        assert score.rmse.low > 0.15
    assert found(table(of_drives, "same run").scores, "n8", "each measurement").rmse.ours < 3.3


def test_predictions_on_disk_are_of_every_row(of_drives: DatasetReport) -> None:
    rows = pd.read_parquet(of_drives.files["predictions"])
    assert len(rows) == 72_160
    predicted = rows[["published", "knn_refresh", "track", "refresh", "refresh_adapted", "refresh_sd"]].to_numpy()
    assert np.isfinite(predicted.astype(float)).all()
