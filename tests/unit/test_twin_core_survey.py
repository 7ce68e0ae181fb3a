"""Known propagation as a twin's prior: from buildings and gains, through snapshots, and what it is good for."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save
from typer.testing import CliRunner

from infra.cli.topology import app
from infra.exceptions import SettingsError
from infra.settings import TwinRoleSettings
from infra.surveys import survey_for
from processors.twin_sync import TwinSync
from schemas.names import short_name
from schemas.topology import Origin, Topology
from streams.schema_ids import LocalIds
from streams.serde import Serde
from twin_core import snapshot
from twin_core.exceptions import InvalidFile, InvalidSurvey, SnapshotCorrupt, SnapshotVersion
from twin_core.exchange.projection import Projection
from twin_core.exchange.survey_files import read_survey
from twin_core.exchange.topology_files import write_topology
from twin_core.layouts import hexagonal
from twin_core.network import Network
from twin_core.observation import PeriodObservation
from twin_core.radio.buildings import Building, Buildings, Ring
from twin_core.radio.path_loss import uma_los_db, uma_nlos_db
from twin_core.radio.shadowing import maps
from twin_core.radio.sight import sight_past
from twin_core.radio.survey import MARGIN_M, survey_of
from twin_core.twin import Twin

SITE = hexagonal(sites=1)
EARTH = Origin(latitude=50.11, longitude=8.68)


def box(x0: float, y0: float, x1: float, y1: float) -> Ring:
    return ((x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0))


def fences(reach_m: float = 600) -> list[Building]:
    """Four huts so far out that all between them counts as known."""
    corners = [(-reach_m, -reach_m), (reach_m, -reach_m), (reach_m, reach_m), (-reach_m, reach_m)]
    return [Building((box(x, y, x + 1, y + 1),), 2.0) for x, y in corners]


def geojson(buildings: list[Building], origin: Origin | None = None) -> str:
    features = []
    for building in buildings:
        ring = np.array(building.footprint[0])
        if origin is not None:
            latitude, longitude = Projection(origin).to_degrees(ring[:, 0], ring[:, 1])
            ring = np.stack([longitude, latitude], axis=1)
        geometry = {"type": "Polygon", "coordinates": [ring.tolist()]}
        features.append({"type": "Feature", "geometry": geometry, "properties": {"height_m": building.height_m}})
    return json.dumps({"type": "FeatureCollection", "features": features})


@cache
def surveyed() -> Twin:
    """A twin that knows the loss of half its links."""
    network = Network.of(SITE)
    known = network.loss_db + 7
    known[::2] = torch.nan
    return Twin.create(SITE, survey_db=known)


# In the twin.


def test_a_twin_begins_with_what_is_known() -> None:
    plain, twin = Twin.create(SITE), surveyed()
    difference = twin.rsrp_dbm - plain.rsrp_dbm
    assert difference[1::2].numpy() == pytest.approx(-7)
    assert torch.equal(twin.rsrp_dbm[::2], plain.rsrp_dbm[::2])


def test_the_survey_is_the_twins_own_copy() -> None:
    given = Network.of(SITE).loss_db.clone()
    twin = Twin.create(SITE, survey_db=given)
    before = twin.state_hash()
    given += 3
    assert twin.state_hash() == before


def test_unknown_is_unknown_however_it_is_written() -> None:
    given = Network.of(SITE).loss_db.clone()
    given[:9] = torch.nan
    negated = given.clone()
    negated[:9] = -torch.tensor(torch.nan, dtype=torch.float64)
    assert Twin.create(SITE, survey_db=given).state_hash() == Twin.create(SITE, survey_db=negated).state_hash()


def test_a_survey_of_another_network_is_refused() -> None:
    with pytest.raises(InvalidSurvey, match="resample it on the twin's grid"):
        Twin.create(SITE, survey_db=Network.of(hexagonal(sites=7)).loss_db)


def test_a_snapshot_carries_the_survey_bit_for_bit() -> None:
    twin = surveyed()
    again = Twin.restore(twin.snapshot())
    assert again.snapshot() == twin.snapshot()
    assert again.state_hash() == twin.state_hash() != Twin.create(SITE).state_hash()
    assert twin.network.survey_db is not None
    assert again.network.survey_db is not None
    assert again.network.survey_db.numpy().tobytes() == twin.network.survey_db.numpy().tobytes()
    seen = PeriodObservation(60_000, 60, {"RRU.PrbTotDl": np.full(3, 40.0)})
    assert again.apply(seen, {}).state_hash() == twin.apply(seen, {}).state_hash()
    changed = {(SITE.cell_names[0], "administrativeState"): "LOCKED"}
    configuration = again.configuration.with_values(again.network, changed)
    assert not configuration.same_as(again.configuration)


def test_a_twin_without_a_survey_is_written_as_before() -> None:
    data = Twin.create(SITE).snapshot()
    header = _header(data)
    assert header["version"] == snapshot.FORMAT_VERSION
    assert "network.survey_db" not in load(data)
    assert _header(surveyed().snapshot())["version"] == snapshot.SURVEYED_VERSION


def test_a_snapshot_whose_survey_does_not_fit_is_refused() -> None:
    twin = surveyed()
    assert twin.network.survey_db is not None
    cut = replace(twin.network, survey_db=twin.network.survey_db[:5].contiguous())
    with pytest.raises(SnapshotCorrupt, match=r"survey is none.*does not fit"):
        Twin.restore(replace(twin, network=cut).snapshot())


@pytest.mark.parametrize(
    ("version", "error"),
    [(3, SnapshotCorrupt), (snapshot.VERSIONS[-1] + 1, SnapshotVersion)],
    ids=["of one without", "of the future"],
)
def test_a_snapshot_with_a_survey_and_another_version_is_refused(version: int, error: type[Exception]) -> None:
    data = surveyed().snapshot()
    header = {**_header(data), "version": version}
    with pytest.raises(error):
        Twin.restore(save(load(data), metadata={"twinloop": json.dumps(header)}))


def _header(data: bytes) -> dict[str, object]:
    length = int.from_bytes(data[:8], "little")
    found: dict[str, object] = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["twinloop"])
    return found


# From buildings.


def test_open_ground_has_the_loss_of_line_of_sight() -> None:
    network = Network.of(SITE)
    survey = survey_of(network, Buildings(tuple(fences())), places_per_side=1)
    d2d = torch.hypot(*network.offsets_m)
    sight = uma_los_db(d2d, network.layout.height_m, network.layout.carrier_ghz)
    assert survey.known == 1
    assert survey.loss_db.numpy() == pytest.approx(sight.numpy())
    assert survey.under_roof == ()


def test_behind_a_wall_a_pixel_is_weaker_and_inside_weaker_still() -> None:
    network = Network.of(SITE)
    open_ground = survey_of(network, Buildings(tuple(fences()))).loss_db
    block = Building((box(100, -60, 160, 60),), 20.0)
    loss = survey_of(network, Buildings((*fences(), block))).loss_db - open_ground
    behind, inside, aside = network.grid.pixel_of(np.array([185.0, 130.0, -150.0]), np.zeros(3))
    assert loss[aside].tolist() == pytest.approx([0.0] * 3, abs=1e-6)
    assert 10 < float(loss[behind, 0]) < 30
    assert float(loss[inside, 0]) > 12, "the wall, and what lies behind it"


def test_a_pixel_is_the_mean_of_its_places() -> None:
    network = Network.of(SITE)
    pixel = int(network.grid.pixel_of(np.array([150.0]), np.array([0.0]))[0])
    x, half = float(network.grid.x_m[pixel]), network.grid.spacing_m / 2
    # Its eastern half is indoors.
    house = Building((box(x, -half, x + half + 1, half),), 10.0)
    one, two = (survey_of(network, Buildings((*fences(), house)), n).loss_db[pixel, 0] for n in (1, 2))
    assert float(two) > float(one) + 5


def test_where_no_buildings_are_told_of_nothing_is_known() -> None:
    network = Network.of(SITE)
    survey = survey_of(network, Buildings(tuple(fences(100))))
    inside = (network.grid.x_m.abs() < 100 + MARGIN_M / 2) & (network.grid.y_m.abs() < 100 + MARGIN_M / 2)
    assert bool(survey.loss_db[inside].isfinite().all())
    assert bool(survey.loss_db[network.grid.x_m > 101 + MARGIN_M].isnan().all())
    with pytest.raises(InvalidSurvey, match="one coordinate system"):
        survey_of(network, Buildings((Building((box(9000, 0, 9010, 10),), 9.0),)))
    with pytest.raises(InvalidSurvey, match="one coordinate system"):
        survey_of(network, Buildings())


def test_a_network_that_repeats_has_no_buildings() -> None:
    with pytest.raises(InvalidSurvey, match="without images_m"):
        survey_of(Network.of(hexagonal(sites=7, wraparound=True)), Buildings(tuple(fences())))


def test_an_antenna_below_the_roof_around_it_is_named() -> None:
    roof = Building((box(-10, -10, 10, 10),), 26.0)
    assert survey_of(Network.of(SITE), Buildings((*fences(), roof))).under_roof == SITE.cell_names


# What it is good for.


def town(seed: int, reach_m: float = 700, block_m: float = 90) -> Buildings:
    """Blocks along streets, some of them empty, of different heights; none where the masts stand."""
    random, out = np.random.default_rng(seed), []
    for x in np.arange(-reach_m, reach_m, block_m):
        for y in np.arange(-reach_m, reach_m, block_m):
            w, d = random.uniform(0.4, 1, 2) * (block_m - 25)
            if random.random() < 0.8:
                out.append(Building((box(x, y, x + w, y + d),), float(random.uniform(8, 22))))
    return Buildings(tuple(out))


def test_a_twin_that_knows_the_buildings_is_nearer_to_the_truth_where_nothing_was_measured() -> None:
    topology = hexagonal(sites=3)
    network, buildings = Network.of(topology), town(1)
    layout, grid, random = network.layout, network.grid, torch.Generator().manual_seed(5)
    # The world: the report's own formulas by who is really in sight, walls, and shadowing that nobody knows.
    pixel = torch.randint(grid.pixels, (1500,), generator=random)
    jitter = (torch.rand(2, 1500, generator=random, dtype=torch.float64) - 0.5) * grid.spacing_m
    x, y = grid.x_m[pixel] + jitter[0], grid.y_m[pixel] + jitter[1]
    antennas = torch.stack([layout.x_m, layout.y_m, layout.height_m], dim=1)
    sight = sight_past(buildings, antennas, torch.stack([x, y, torch.full_like(x, 1.5)], dim=1), layout.carrier_ghz)
    link = torch.hypot(*layout.offsets_m(x, y)), layout.height_m, layout.carrier_ghz
    shadow = maps(x, y, layout.sites, 50.0, random)[:, layout.site_of_cell]
    loss = torch.where(sight.line_of_sight, uma_los_db(*link) + 4 * shadow, uma_nlos_db(*link) + 6 * shadow)
    rsrp = (Twin.create(topology).rsrp_dbm + network.loss_db)[pixel] - loss - sight.penetration_db + 3

    west = x < 0
    seen = PeriodObservation(
        60_000, 60, mr_cell_rsrp=rsrp[west].numpy(), mr_serving=rsrp[west].argmax(dim=1).numpy(),
        mr_sinr_db=np.full(int(west.sum()), np.nan), mr_x_m=x[west].numpy(), mr_y_m=y[west].numpy(),
    )  # fmt: skip
    far = x > 2 * grid.spacing_m
    error = {}
    for name, survey in (("without", None), ("with", survey_of(network, buildings).loss_db)):
        twin = Twin.create(topology, survey_db=survey)
        for k in range(3):
            twin = twin.apply(replace(seen, period_end_ms=60_000 * (k + 1)), {})
        error[name] = float((twin.rsrp_dbm[pixel[far]] - rsrp[far]).pow(2).mean().sqrt())
    assert error["with"] < 0.9 * error["without"]


# Files and settings.


def test_gains_hold_where_known_and_buildings_elsewhere(tmp_path: Path) -> None:
    network = Network.of(SITE)
    (tmp_path / "town.geojson").write_text(geojson(fences()))
    np.savez(tmp_path / "drive.npz", x_m=[0.0], y_m=[50.0], cells=["gnb1-2"], gain_db=[[-91.0]])
    both = read_survey(network, tmp_path / "drive.npz", tmp_path / "town.geojson")
    houses = read_survey(network, buildings=tmp_path / "town.geojson")
    measured = both.loss_db != houses.loss_db
    assert both.loss_db[measured].tolist() == [91.0]
    assert both.known == 1


def test_buildings_stand_in_degrees_where_the_network_has_an_origin(tmp_path: Path) -> None:
    placed = SITE.model_copy(update={"origin": EARTH})
    block = [*fences(), Building((box(100, -60, 160, 60),), 20.0)]
    (tmp_path / "metres.geojson").write_text(geojson(block))
    (tmp_path / "degrees.geojson").write_text(geojson(block, EARTH))
    one = read_survey(Network.of(SITE), buildings=tmp_path / "metres.geojson").loss_db
    other = read_survey(Network.of(placed), buildings=tmp_path / "degrees.geojson").loss_db
    assert one.numpy() == pytest.approx(other.numpy(), abs=1e-3)
    with pytest.raises(InvalidFile, match=r"metres\.geojson: feature 0.*metres are for a network without an origin"):
        read_survey(Network.of(placed), buildings=tmp_path / "metres.geojson")


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("town.geojson", b"{", "no JSON"),
        ("town.geojson", b"\xff\xfe", "UTF-8"),
        ("town.geojson", geojson([Building((box(9000, 0, 9010, 10),), 9.0)]).encode(), "coordinate system"),
        ("gains.npz", b"no archive", "np.savez"),
        ("gains.png", b"", "are read from"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path: Path, name: str, content: bytes, match: str) -> None:
    (tmp_path / name).write_bytes(content)
    gains, buildings = (None, tmp_path / name) if name.startswith("town") else (tmp_path / name, None)
    with pytest.raises(InvalidFile, match=rf"(?s){name}: .*{match}"):
        read_survey(Network.of(SITE), gains, buildings)


def test_a_map_of_somewhere_else_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "far.npz", x_m=[9e4], y_m=[0.0], cells=["gnb1-1"], gain_db=[[-90.0]])
    with pytest.raises(InvalidFile, match="nothing is known of any link"):
        read_survey(Network.of(SITE), tmp_path / "far.npz")


def two_regions() -> Topology:
    whole = hexagonal(sites=19)
    cells = tuple(c.model_copy(update={"region": "2" if c.x_m > 800 else "1"}) for c in whole.cells)
    return whole.model_copy(update={"cells": cells})


def test_each_region_takes_its_own_cells_of_one_map(tmp_path: Path) -> None:
    topology = two_regions()
    names = [short_name(c) for c in topology.cell_names]
    axis = np.arange(-2000, 2001, 100.0)
    gain = np.broadcast_to(-80.0 - np.arange(len(names))[:, None, None], (len(names), len(axis), len(axis)))
    np.savez(tmp_path / "all.npz", x_m=axis, y_m=axis, cells=names, gain_db=gain)
    settings = TwinRoleSettings(gains=tmp_path / "all.npz")
    for region, hears_all in (("1", True), ("2", False)):
        sync = TwinSync(topology, Serde(LocalIds()), region=region)
        survey = survey_for(settings, sync)
        assert survey is not None
        assert (not sync.elsewhere) == hears_all
        expected = [80.0 + topology.cell_names.index(c) for c in sync.topology.cell_names]
        assert survey.loss_db[0].tolist() == pytest.approx(expected)
        again = sync.load(sync.dump(sync.initial(survey.loss_db)))
        assert again.twin.network.survey_db is not None
    misspelt = [*names[:-1], "gnb99-1"]
    np.savez(tmp_path / "all.npz", x_m=axis, y_m=axis, cells=misspelt, gain_db=gain)
    with pytest.raises(SettingsError, match=r"(?s)gnb99-1.*TWINLOOP_TWIN__GAINS"):
        survey_for(settings, sync)


def test_settings_without_files_ask_for_nothing() -> None:
    assert survey_for(TwinRoleSettings(), TwinSync(SITE, Serde(LocalIds()))) is None


def test_a_file_that_is_not_there_is_an_error_of_settings(tmp_path: Path) -> None:
    settings = TwinRoleSettings(buildings=tmp_path / "none.geojson")
    with pytest.raises(SettingsError, match=r"(?s)none\.geojson.*TWINLOOP_TWIN__BUILDINGS"):
        survey_for(settings, TwinSync(SITE, Serde(LocalIds())))


def test_the_command_draws_a_map_among_buildings(tmp_path: Path) -> None:
    roof = Building((box(-10, -10, 10, 10),), 26.0)
    (tmp_path / "town.geojson").write_text(geojson([*fences(), roof]))
    write_topology(tmp_path / "net.json", SITE)
    given = ["map", str(tmp_path / "gain.tif"), "--show", "gain", "--buildings", str(tmp_path / "town.geojson")]
    run = CliRunner()
    done = run.invoke(app, [*given, "--topology", str(tmp_path / "net.json")])
    assert done.exit_code == 0
    assert "known of 100%" in done.stdout
    assert "under a roof: gnb1-1" in done.stdout
    told = json.loads(run.invoke(app, [*given, "--topology", str(tmp_path / "net.json"), "--json"]).stdout)
    assert (told["known_share"], told["under_roof"]) == (1.0, list(SITE.cell_names))
    assert run.invoke(app, given).exit_code == 2, "the twin in the database has its own"
