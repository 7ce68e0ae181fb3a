"""Networks and radio maps as files: what is written is read back, and what is wrong is named where it stands."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread
from numpy.typing import NDArray
from rasterio.io import MemoryFile
from rasterio.transform import from_origin
from rasterio.warp import transform
from typer.testing import CliRunner

from infra.cli.topology import app
from schemas.names import cell_dn
from schemas.topology import CellSite, NetworkSlice, Origin, Topology
from twin_core.exceptions import InvalidFile, InvalidScenarios, MissingLibrary, UnknownObject
from twin_core.exchange.files import text_of, write
from twin_core.exchange.gain_map import read_map
from twin_core.exchange.geotiff import geotiff
from twin_core.exchange.picture import png
from twin_core.exchange.projection import Projection, centre_of
from twin_core.exchange.radio_map import RadioMap, best_rsrp_map, gain_map, rsrp_map, server_map, sinr_map
from twin_core.exchange.topology_csv import read_csv, write_csv
from twin_core.exchange.topology_files import read_topology, write_topology
from twin_core.exchange.topology_geojson import read_geojson, write_geojson
from twin_core.layouts import hexagonal
from twin_core.network import Network
from twin_core.twin import Twin

ORIGIN = Origin(latitude=50.11, longitude=8.68)
HEADER = "site,sector,latitude,longitude,height_m,azimuth_deg,carrier_ghz,prbs,max_tx_power_mw"
ROWS = ("a,1,50.11,8.68,25,30,3.5,51,40000", "a,2,50.11,8.68,25,150,3.5,51,40000", "b,1,50.12,8.69,25,0,3.5,51,40000")
GOOD = "\n".join((HEADER, *ROWS))


def placed(origin: Origin | None = ORIGIN) -> Topology:
    return hexagonal(sites=3).model_copy(update={"origin": origin})


@pytest.fixture(scope="module")
def twin() -> Twin:
    """Three sites of which one sector is off air."""
    whole = Twin.create(placed())
    active = whole.configuration.active.clone()
    active[1] = False
    return replace(whole, configuration=replace(whole.configuration, active=active))


def features(change: Callable[[dict], None] = lambda _: None) -> str:  # type: ignore[type-arg]
    """A good GeoJSON after a change to it."""
    document = json.loads(write_geojson(placed()))
    change(document)
    return json.dumps(document)


# -- topologies


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    metres = st.floats(-20_000, 20_000).map(lambda v: round(v, 3))
    site = st.builds(
        CellSite,
        cell=st.just(cell_dn("ManagedElement=x", 1)),
        x_m=metres,
        y_m=metres,
        height_m=st.floats(1, 100),
        azimuth_deg=st.floats(0, 359.9),
        mechanical_tilt_deg=st.floats(-10, 10),
        carrier_ghz=st.sampled_from([0.7, 2.1, 3.5, 26.0]),
        prbs=st.integers(1, 275),
        scs_khz=st.sampled_from([15, 30, 120]),
        max_tx_power_mw=st.floats(1, 200_000),
    )
    sites = draw(st.lists(site, min_size=1, max_size=5))
    return Topology(
        network_id="drawn",
        slices=(NetworkSlice(s_nssai="1-000001", name="eMBB, «fast»"),),
        origin=Origin(latitude=draw(st.floats(-70, 70)), longitude=draw(st.floats(-180, 180))),
        cells=tuple(s.model_copy(update={"cell": cell_dn(f"ManagedElement=g{i}", 1)}) for i, s in enumerate(sites)),
    )


@settings(max_examples=25, deadline=None)
@given(topologies())
def test_what_is_written_is_read_back_within_a_tenth_of_a_millimetre(topology: Topology) -> None:
    by_csv = read_csv(write_csv(topology), "drawn", slices=topology.slices, origin=topology.origin)
    in_metres = topology.model_copy(update={"origin": None})
    assert read_csv(write_csv(in_metres), "drawn", slices=topology.slices) == in_metres
    for back in (by_csv, read_geojson(write_geojson(topology))):
        for before, after in zip(topology.cells, back.cells, strict=True):
            assert (after.x_m, after.y_m) == pytest.approx((before.x_m, before.y_m), abs=1e-4)
            assert after.model_copy(update={"x_m": before.x_m, "y_m": before.y_m}) == before
        assert back.model_copy(update={"cells": topology.cells}) == topology
        assert write_geojson(back) == write_geojson(topology), "a second round changes nothing"


@settings(max_examples=25, deadline=None)
@given(st.floats(-80, 80), st.floats(-180, 180), st.floats(-5e4, 5e4), st.floats(-5e4, 5e4))
def test_metres_to_degrees_and_back(latitude: float, longitude: float, x: float, y: float) -> None:
    plane = Projection(Origin(latitude=latitude, longitude=longitude))
    assert np.hypot(*(np.array(plane.to_metres(*plane.to_degrees([x], [y]))) - [[x], [y]])) < 1e-5


def test_a_hundred_metres_are_a_hundred_metres_wherever_the_network_is() -> None:
    from pyproj import Geod

    plane = Projection(Origin(latitude=60.0, longitude=-179.99))
    latitude, longitude = plane.to_degrees([-5000, -5100], [3000, 3000])
    azimuth, _, distance = Geod(ellps="WGS84").inv(longitude[0], latitude[0], longitude[1], latitude[1])
    assert distance == pytest.approx(100, rel=1e-4)
    assert azimuth % 360 == pytest.approx(270, abs=0.2)
    assert longitude[0] > 179, "over the 180th meridian"


def test_the_origin_is_the_middle_of_the_sites_and_no_stray_moves_it() -> None:
    assert centre_of([1.0, 1.1, 1.2, 80.0], [2.0, 2.0, 2.0, 2.0]).latitude == pytest.approx(1.15)
    topology = read_csv(GOOD, "town")
    assert topology.origin == Origin(latitude=50.11, longitude=8.68)
    assert topology.cells[0].x_m == 0
    assert topology.cells[2].y_m == pytest.approx(1112.5, abs=1)


def test_a_table_as_excel_saves_it() -> None:
    rows = [row.replace(",", ";").replace(".", ",") for row in ROWS]
    table = "\r\n".join([HEADER.replace(",", ";"), *rows, ";" * 8, ""]).encode("utf-8-sig")
    assert read_csv(text_of(table), "town") == read_csv(GOOD, "town")
    assert read_csv(GOOD.replace(",", "\t"), "town") == read_csv(GOOD, "town")


def test_several_carriers_of_a_sector_are_several_cells() -> None:
    topology = read_csv("\n".join((GOOD, ROWS[0].replace("3.5", "0.7"))), "town")
    assert [name.partition("NRCellDU=")[2] for name in topology.cell_names] == ["1.3500", "2", "1", "1.700"]
    assert len(topology.managed_elements) == 2
    assert [c.carrier_ghz for c in topology.cells] == [3.5, 3.5, 3.5, 0.7]


def test_what_has_a_default_may_be_missing_or_empty() -> None:
    table = "\n".join((f"{HEADER},region,scs_khz,note", *(f"{row},west,,old" for row in ROWS)))
    topology = read_csv(table, "town", ignore=["note"])
    assert {(c.region, c.scs_khz) for c in topology.cells} == {("west", 30)}


def change_row(old: str, new: str, row: int = 1) -> str:
    return "\n".join((HEADER, *(r.replace(old, new) if i == row else r for i, r in enumerate(ROWS))))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty"),
        (HEADER, "no cells"),
        (GOOD.replace("azimuth_deg", "azimuth"), "line 1: unknown name 'azimuth'; did you mean 'azimuth_deg'"),
        (GOOD.replace("prbs", "site"), "line 1: 'site' stands twice"),
        (GOOD.replace("site,sector", "region,scs_khz"), "header lacks cell"),
        (change_row("40000", "-3"), "line 3: max_tx_power_mw is -3.0"),
        (change_row("25", "nan"), "line 3: height_m is 'nan', which is no number"),
        (change_row("25", "inf"), "line 3: height_m is 'inf', which is no number"),
        (change_row("51", "51.5"), "line 3: prbs is 51.5"),
        (change_row("25", ""), "line 3: height_m is missing"),
        (change_row("50.11", "91"), "line 3: latitude is 91, beyond 90"),
        (change_row("50.11,8.68", "0,0"), "line 3: latitude 0, longitude 0 lies more than 1,000 km"),
        (change_row("8.68", ""), "line 3: give either latitude and longitude or x_m and y_m; it has latitude"),
        (change_row("a,2", "a,1"), "line 3: SubNetwork=1,ManagedElement=a,GNBDUFunction=1,NRCellDU=1"),
        (change_row("a,2", "a b,2"), "line 3: cell is"),
        (change_row("a,2", ",2"), "line 3: no name"),
        (change_row("a,2", '"a,ManagedElement=c",2'), "line 3: a site or sector with"),
        (change_row("a,2", "ManagedElement=a,GNBDUFunction=1,2"), "line 3: 10 values under 9 columns; put names"),
        (change_row("a,2", '"a\nb",2') + "\nx", "line 6: 1 values"),
        (change_row("a,2", '"a,2'), "no CSV"),
    ],
)
def test_bad_tables_are_refused_with_the_line(text: str, told: str) -> None:
    with pytest.raises(InvalidFile) as error:
        read_csv(text, "town")
    assert told in str(error.value)


def test_all_problems_are_told_at_once_but_not_without_end() -> None:
    rows = "\n".join([HEADER, *("a,1,50,8,x,0,3.5,51,40000" for _ in range(40))])
    with pytest.raises(InvalidFile, match=r"line 2.*\n(.*\n)*.*and 32 more"):
        read_csv(rows, "town")


def test_bytes_that_are_no_text() -> None:
    for data, told in (
        (b"", "empty"),
        (b"\xef\xbb\xbf\n", "empty"),
        ("a\nMünchen".encode("latin-1"), "line 2: byte 0xfc"),
    ):
        with pytest.raises(InvalidFile, match=told):
            text_of(data)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d.update(type="Topology"), "Topology and no FeatureCollection"),
        (lambda d: d.update(features=[]), "no features"),
        (lambda d: d.update(crs={"properties": {"name": "EPSG:25832"}}), "EPSG:25832"),
        (lambda d: d["twinloop"].update(colour="red"), "'twinloop' may have"),
        (lambda d: d["twinloop"].update(origin=[8, 50]), "origin is"),
        (lambda d: d["twinloop"].update(granularity_s=0), "granularity_s is 0"),
        (lambda d: d["features"][1]["geometry"].update(type="Polygon"), "feature 2: the geometry is Polygon"),
        (lambda d: d["features"][1].update(geometry=None), "feature 2: the geometry is nothing"),
        (lambda d: d["features"][1]["geometry"].update(coordinates=[8.6]), "feature 2: coordinates are [8.6]"),
        (lambda d: d["features"][1]["geometry"].update(coordinates=[8.6, None]), "feature 2: latitude is None"),
        (lambda d: d["features"][1]["geometry"].update(coordinates=[50.1, 98.6]), "feature 2: latitude is 98.6"),
        (lambda d: d["features"][1].update(properties=None), "feature 2: no properties"),
        (lambda d: d["features"][1]["properties"].update(heigth=3), "feature 2: unknown name 'heigth'; did you mean"),
        (lambda d: d["features"][1]["properties"].update(x_m=3), "feature 2: x_m stands in the coordinates"),
        (lambda d: d["features"][1]["properties"].update(prbs=True), "feature 2: prbs is True, which is no number"),
        (lambda d: d["features"][1]["properties"].pop("prbs"), "feature 2: prbs is missing"),
        (lambda d: d["features"].append(d["features"][0]), "stands at feature 1 already"),
    ],
)
def test_bad_geojson_is_refused_with_the_feature(change: Callable[[dict], None], told: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(InvalidFile) as error:
        read_geojson(features(change))
    assert told in str(error.value)


def test_geojson_that_is_no_json_or_has_no_place_to_stand() -> None:
    for text, told in (("{", "line 1: no JSON"), (features().replace("25.0", "NaN"), "NaN is no JSON"), ("3", "int")):
        with pytest.raises(InvalidFile, match=told):
            read_geojson(text)
    with pytest.raises(InvalidFile, match="no origin"):
        write_geojson(placed(None))


def test_files_are_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.csv", "a.geojson", "a.json"):
        write_topology(tmp_path / name, placed())
        assert read_topology(tmp_path / name, "example", origin=ORIGIN).cell_names == placed().cell_names
    before = (tmp_path / "a.json").read_bytes()
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path / "a.json", b"half")
    assert (tmp_path / "a.json").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 3
    for name in ("a.xlsx", "no suffix"):
        with pytest.raises(InvalidFile, match="suffix"):
            read_topology(tmp_path / name)
    (tmp_path / "b.json").write_text('{"network_id": "x"}')
    with pytest.raises(InvalidFile, match=r"b\.json: no topology \(cells: "):
        read_topology(tmp_path / "b.json")


# -- radio maps


def test_maps_say_what_the_twin_says(twin: Twin) -> None:
    on_air = twin.physics.on_air
    best = torch.where(on_air, twin.rsrp_dbm, -torch.inf).max(dim=1)
    assert np.isnan(rsrp_map(twin).values[1]).all(), "a cell off air is not heard"
    assert best_rsrp_map(twin).values[0] == pytest.approx(best.values.numpy(), abs=1e-4)
    assert (server_map(twin).values[0] == best.indices.numpy()).all()
    silent = sinr_map(twin, 0.0).values[0]
    noise = twin.network.thermal_noise_dbm[0] + twin.settings.physics.noise_figure_db
    assert silent == pytest.approx((best.values - noise).numpy(), abs=1e-4)
    assert (sinr_map(twin, 1.0).values < sinr_map(twin, 0.5).values).all()
    assert "expects" in sinr_map(twin).note
    with pytest.raises(InvalidScenarios, match=r"0\.\.1"):
        sinr_map(twin, 1.5)
    with pytest.raises(UnknownObject, match="gnb1-1"):
        rsrp_map(twin).of_cell("gnb9-1")


def test_without_any_cell_on_air_there_is_no_server(twin: Twin) -> None:
    dark = replace(twin, configuration=replace(twin.configuration, active=torch.zeros(9, dtype=torch.bool)))
    for drawn in (best_rsrp_map(dark), server_map(dark), sinr_map(dark, 1.0)):
        assert np.isnan(drawn.values).all()
        with pytest.raises(InvalidFile, match="off air"):
            png(drawn)


def test_a_geotiff_holds_pixels_names_units_and_place(twin: Twin) -> None:
    drawn, grid = rsrp_map(twin), twin.network.grid
    with MemoryFile(geotiff(drawn)) as memory, memory.open() as file:
        assert file.descriptions == twin.network.cells
        assert file.dtypes[0] == "float32"
        assert set(file.units) == {"dBm"}
        assert np.isnan(file.nodata)
        assert json.loads(file.tags()["cells"]) == list(twin.network.cells)
        for p in (0, grid.pixels // 3, grid.pixels - 1):
            x, y = float(grid.x_m[p]), float(grid.y_m[p])
            (values,) = file.sample([(x, y)])
            np.testing.assert_array_equal(values, drawn.values[:, p])
            latitude, longitude = Projection(ORIGIN).to_degrees([x], [y])
            ((east,), (north,)) = transform("EPSG:4326", file.crs, longitude, latitude)
            assert (east, north) == pytest.approx((x, y), abs=1e-3), "its coordinate system is the network's plane"
        assert np.isfinite(file.read()).sum() == np.isfinite(drawn.values).sum()


def test_a_geotiff_without_origin_says_that_it_is_nowhere() -> None:
    with MemoryFile(geotiff(best_rsrp_map(Twin.create(placed(None))))) as memory, memory.open() as file:
        assert not file.crs.is_projected
        assert not file.crs.is_geographic
        assert "no origin" in file.tags()["coordinates"]
        assert "no origin" in file.crs.to_wkt()


@pytest.mark.parametrize("draw", [sinr_map, server_map])
def test_a_png_opens_and_is_no_blank(draw: Callable[[Twin], RadioMap], twin: Twin) -> None:
    picture = imread(io.BytesIO(png(draw(twin))), format="png")
    assert min(picture.shape[:2]) > 400
    assert len(np.unique(picture[::4, ::4, 0])) > 8, "colours and not one"


def test_a_png_of_several_bands_is_refused(twin: Twin) -> None:
    with pytest.raises(InvalidFile, match="choose a cell"):
        png(rsrp_map(twin))


def test_without_its_library_a_format_says_what_to_install(twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    for library, act in (
        ("rasterio.io", lambda: geotiff(best_rsrp_map(twin))),
        ("matplotlib.figure", lambda: png(best_rsrp_map(twin))),
        ("pyproj", lambda: read_csv(GOOD, "town")),
    ):
        with monkeypatch.context() as missing:
            missing.setitem(__import__("sys").modules, library, None)
            with pytest.raises(MissingLibrary, match="pip install"):
                act()


# -- gains of others


@pytest.mark.parametrize("origin", [ORIGIN, None])
@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
def test_gains_written_are_read_back(origin: Origin | None, resampling: str, tmp_path: Path) -> None:
    whole = Twin.create(placed(origin))
    write(tmp_path / "gain.tif", geotiff(gain_map(whole)))
    back = read_map(tmp_path / "gain.tif", whole.network, resampling)  # type: ignore[arg-type]
    assert back.numpy() == pytest.approx(-whole.network.loss_db.numpy(), abs=1e-4)
    with rasterio.open(tmp_path / "gain.tif") as file:
        assert file.count == len(whole.network.cells)


def slope(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    return -100 - x / 100 + y / 200


def test_a_map_in_degrees_lands_where_it_belongs(tmp_path: Path) -> None:
    """A raster in EPSG:4326, coarser than the twin, with a hole and cells in another order."""
    network = Network.of(placed())
    step, n = 0.0005, 60
    west, north = ORIGIN.longitude - n / 2 * step, ORIGIN.latitude + n / 2 * step
    longitude, latitude = np.meshgrid(west + step * (np.arange(n) + 0.5), north - step * (np.arange(n) + 0.5))
    x, y = Projection(ORIGIN).to_metres(latitude.ravel(), longitude.ravel())
    plane = slope(x, y).reshape(n, n).astype(np.float32)
    holed = plane.copy()
    holed[: n // 2] = -9999
    with rasterio.open(
        tmp_path / "m.tif", "w", driver="GTiff", width=n, height=n, count=2, dtype="float32", nodata=-9999,
        crs="EPSG:4326", transform=from_origin(west, north, step, step),
    ) as file:  # fmt: skip
        file.write(np.stack([holed, plane]))
        file.descriptions = (network.cells[4], "gnb1-1")
    gain = read_map(tmp_path / "m.tif", network).numpy()
    px, py = network.grid.x_m.numpy(), network.grid.y_m.numpy()
    assert gain[:, 0] == pytest.approx(slope(px, py), abs=0.02)
    assert np.isfinite(gain[py < -60, 4]).all()
    assert np.isnan(gain[py > 60, 4]).all()
    assert np.isnan(np.delete(gain, [0, 4], axis=1)).all()
    nearest = read_map(tmp_path / "m.tif", network, "nearest").numpy()
    assert 0.05 < np.abs(nearest[:, 0] - slope(px, py)).max() < 0.5
    with pytest.raises(InvalidFile, match="give the topology an origin"):
        read_map(tmp_path / "m.tif", Network.of(placed(None)))


def test_a_raster_and_places_of_an_archive(tmp_path: Path) -> None:
    network = Network.of(placed(None))
    cells = np.array([network.cells[2], "gnb1-1"])
    x, y = np.linspace(-2000, 2000, 81), np.linspace(2000, -2000, 81)
    plane = slope(x[None, :], y[:, None])
    np.savez(
        tmp_path / "raster.npz", x_m=x, y_m=y, cells=cells, gain_db=np.stack([plane, np.full_like(plane, -np.inf)])
    )
    gain = read_map(tmp_path / "raster.npz", network)
    expected = slope(network.grid.x_m.numpy(), network.grid.y_m.numpy())
    assert gain[:, 2].numpy() == pytest.approx(expected, abs=1e-6)
    assert bool(gain[:, 0].isnan().all()), "where no ray arrives nothing is known"

    at = np.array([0.0, 4.0, 90_000.0])
    gains = np.array([[-80.0, -70.0], [-90.0, np.nan], [-60.0, -60.0]])
    np.savez(tmp_path / "drive.npz", x_m=at, y_m=0 * at, cells=cells, gain_db=gains)
    gain = read_map(tmp_path / "drive.npz", network)
    assert gain[~gain.isnan()].tolist() == [-70.0, -85.0], "means by pixel; what is far outside counts nowhere"


def test_read_gains_become_the_network_s_prior(tmp_path: Path) -> None:
    network = Network.of(placed(None))
    write(tmp_path / "g.tif", geotiff(gain_map(Twin.create(placed(None)))))
    surveyed = network.surveyed(-read_map(tmp_path / "g.tif", network) + 10)
    assert surveyed.loss_db.numpy() == pytest.approx(network.loss_db.numpy() + 10, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"cells": ["gnb1-1", "gnb1-9"]}, "did you mean 'gnb1-"),
        ({"cells": ["gnb1-1", "gnb1-1"]}, "two bands"),
        ({"gain_db": np.full((3, 2), 90.0)}, "negate losses"),
        ({"gain_db": np.full((3, 3), -90.0)}, "has shape (3, 3)"),
        ({"x_m": [0.0, np.nan, 1.0]}, "finite metres"),
        ({"gain_db": None}, "lacks gain_db"),
        ({"cells": np.array([{}, {}])}, "no NumPy archive"),
        ({"x_m": [0.0, 1.0, 3.0], "gain_db": np.full((2, 3, 3), -90.0)}, "even steps"),
    ],
)
def test_bad_gains_are_refused(change: dict[str, object], told: str, tmp_path: Path) -> None:
    good = {"x_m": [0.0] * 3, "y_m": [0.0] * 3, "cells": ["gnb1-1", "gnb1-2"], "gain_db": np.full((3, 2), -90.0)}
    np.savez(tmp_path / "g.npz", **{k: v for k, v in {**good, **change}.items() if v is not None})  # type: ignore[arg-type]
    with pytest.raises(InvalidFile) as error:
        read_map(tmp_path / "g.npz", Network.of(placed()))
    assert told in str(error.value)


def test_gains_that_are_no_map_or_of_another_place(tmp_path: Path) -> None:
    network = Network.of(placed())
    for name in ("a.tif", "a.npz", "a.asc"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(InvalidFile, match=name):
            read_map(tmp_path / name, network)
    far = placed(Origin(latitude=-30, longitude=100))
    write(tmp_path / "far.tif", geotiff(gain_map(Twin.create(far))))
    with pytest.raises(InvalidFile, match="does not touch"):
        read_map(tmp_path / "far.tif", network)
    write(tmp_path / "more.tif", geotiff(gain_map(Twin.create(placed(None)))))
    part = Network.of(placed(None).model_copy(update={"cells": placed(None).cells[:3]}))
    with pytest.raises(InvalidFile, match="band 4 is of"):
        read_map(tmp_path / "more.tif", part)
    known = read_map(tmp_path / "more.tif", part, elsewhere=True).isfinite()
    assert float(known.double().mean()) > 0.9


# -- the command


def test_the_command_goes_from_table_to_map(tmp_path: Path) -> None:
    (tmp_path / "My sites.csv").write_text(GOOD)
    run = CliRunner()

    def topology(*words: str | Path) -> str:
        result = run.invoke(app, [str(word) for word in words])
        assert result.exit_code == 0, result.output
        return result.stdout

    made, drawn, back = (tmp_path / name for name in ("t.json", "map.tif", "back.csv"))
    told = json.loads(
        topology("import", tmp_path / "My sites.csv", "--slice", "1-000001=eMBB", "--out", made, "--json")
    )
    assert (told["network_id"], told["cells"], told["slices"]) == ("my-sites", 3, ["1-000001"])
    topology("export", back, "--topology", made)
    assert read_csv(back.read_text(), "my-sites", slices=read_topology(made).slices) == read_topology(made)
    topology("export", tmp_path / "moved.geojson", "--topology", made, "--origin", "48.1,11.6")
    assert read_topology(tmp_path / "moved.geojson").origin == Origin(latitude=48.1, longitude=11.6)
    topology("map", drawn, "--show", "gain", "--topology", made, "--pixels-per-isd", "8")
    topology("map", tmp_path / "b.png", "--show", "rsrp", "--cell", "a-2", "--topology", made, "--gains", drawn)
    assert (tmp_path / "b.png").stat().st_size > 10_000


def test_the_command_explains_what_does_not_go_together(tmp_path: Path) -> None:
    run, sites = CliRunner(), tmp_path / "s.csv"
    sites.write_text(change_row("25", "-25"))
    result = run.invoke(app, ["import", str(sites), "--out", str(tmp_path / "t.json")])
    assert result.exit_code == 1
    assert not (tmp_path / "t.json").exists(), "nothing half done"
    sites.write_text(GOOD)
    for words in (
        ["map", "x.jpg"],
        ["map", "x.png", "--show", "rsrp"],
        ["map", "x.png", "--cell", "a-1"],
        ["map", "x.png", "--gains", str(sites)],
        ["map", "x.png", "--topology", str(sites), "--at", "3"],
        ["import", str(sites), "--origin", "91,0"],
        ["import", str(sites), "--slice", "9"],
        ["import", str(sites), "--out", "t.csv"],
    ):
        assert run.invoke(app, words).exit_code == 2, words


def test_what_the_page_shows_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path("docs/topology.md").read_text(encoding="utf-8")
    block = {
        title or kind: text
        for kind, title, text in re.findall(
            r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', page, re.DOTALL | re.MULTILINE
        )
    }
    assert len(read_geojson(block["json"]).cells) == 1
    monkeypatch.chdir(tmp_path)
    write_topology(Path("topology.json"), read_csv(block["csv"], "town"))
    x, y = np.meshgrid(np.arange(-1500.0, 1501, 50), np.arange(-1500.0, 1501, 50))
    traced = {
        "path_gain": np.stack([np.full_like(x, 1e-9), np.zeros_like(x)]),
        "cell_centers": np.stack([x, y, 0 * x], axis=2),
        "cells": ["north-1", "south-1"],
    }
    exec(block["save_gains.py"], traced)
    used: dict[str, Any] = {}
    exec(block["use_gains.py"], used)
    known = used["twin"].network.survey_db
    assert known[:, 0].tolist() == pytest.approx([90.0] * len(known))
    assert bool(known[:, 1:].isnan().all())
