"""Buildings: what stands in sight, what roofs and walls cost; against hand formulas and intersections by shapely."""

import json
import math
import sys
from typing import Any

import numpy as np
import pytest
import shapely
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import fresnel

from schemas.topology import Origin
from twin_core.exceptions import InvalidGeometry, MissingLibrary
from twin_core.exchange.projection import Projection
from twin_core.radio.buildings import Building, Buildings, Ring
from twin_core.radio.diffraction import bullington_db, equivalent_edge, knife_edge_db, knife_edge_nu
from twin_core.radio.penetration import LOW_LOSS, wall_db
from twin_core.radio.sight import NEAREST_EDGE_M, Sight, loss_db, sight_past

FC = 3.5
WAVELENGTH = 0.299792458 / FC


def box(x0: float, y0: float, x1: float, y1: float) -> Ring:
    return ((x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0))


def house(x0: float, y0: float, x1: float, y1: float, height: float, material: str = "low_loss") -> Building:
    return Building((box(x0, y0, x1, y1),), height, material)


def look(buildings: list[Building], antenna: list[float], place: list[float], fc: float = FC) -> Sight:
    from_, to = (torch.tensor([p], dtype=torch.float64) for p in (antenna, place))
    return sight_past(Buildings(tuple(buildings)), from_, to, torch.tensor([fc]))


def j(nu: float) -> float:
    return 6.9 + 20 * math.log10(math.sqrt((nu - 0.1) ** 2 + 1) + nu - 0.1) if nu > -0.78 else 0.0


def town(seed: int, houses: int = 40, span: float = 300) -> list[Building]:
    random = np.random.default_rng(seed)
    out = []
    for _ in range(houses):
        x, y = random.uniform(-span, span, 2)
        w, d = random.uniform(5, 40, 2)
        turned = shapely.affinity.rotate(shapely.box(x, y, x + w, y + d), float(random.uniform(0, 90)))
        out.append(Building((tuple(turned.exterior.coords),), float(random.uniform(3, 30))))
    return out


def scattered(seed: int, n: int, span: float = 300, low: float = 1.5, high: float = 1.5) -> torch.Tensor:
    random = np.random.default_rng(seed)
    return torch.from_numpy(np.c_[random.uniform(-span, span, (n, 2)), random.uniform(low, high, n)])


# One edge, several edges.


def test_a_knife_edge_costs_what_the_recommendation_says() -> None:
    nu = torch.tensor([-3.0, -0.78, 0.0, 1.0, 2.4], dtype=torch.float64)
    assert knife_edge_db(nu).tolist() == pytest.approx([0, 0, 6.03, 13.93, 20.54], abs=0.01)


@given(nu=st.floats(-0.7, 30))
@settings(max_examples=60, deadline=None)
def test_a_knife_edge_is_near_the_fresnel_integrals(nu: float) -> None:
    s, c = fresnel(nu)
    exact = -10 * math.log10(((1 - c - s) ** 2 + (c - s) ** 2) / 4)
    assert float(knife_edge_db(torch.tensor(nu, dtype=torch.float64))) == pytest.approx(exact, abs=0.35)


@given(nu=st.floats(-5, 50), more=st.floats(0, 50))
@settings(max_examples=60, deadline=None)
def test_a_higher_edge_never_costs_less(nu: float, more: float) -> None:
    low, high = knife_edge_db(torch.tensor([nu, nu + more], dtype=torch.float64)).tolist()
    assert high >= low >= 0


_edges = st.lists(st.tuples(st.floats(0.05, 0.95), st.floats(0, 60)), min_size=1, max_size=6)


@given(edges=_edges, km=st.floats(0.05, 5), ends=st.tuples(st.floats(1.5, 60), st.floats(1.5, 60)))
@settings(max_examples=150, deadline=None)
def test_the_equivalent_edge_is_that_of_the_steps_of_the_recommendation(
    edges: list[tuple[float, float]], km: float, ends: tuple[float, float]
) -> None:
    # P.526-15 §4.5.1 as it is written: metres of height over kilometres of way, slopes from both ends.
    hts, hrs = ends
    d, h = [t * km for t, _ in edges], [height for _, height in edges]
    str_ = (hrs - hts) / km
    stim = max((hi - hts) / di for di, hi in zip(d, h, strict=True))
    if stim < str_:
        expected = max(
            (hi - (hts * (km - di) + hrs * di) / km) * math.sqrt(0.002 * km / (WAVELENGTH * di * (km - di)))
            for di, hi in zip(d, h, strict=True)
        )
    else:
        srim = max((hi - hrs) / (km - di) for di, hi in zip(d, h, strict=True))
        db = km / 2 if stim == -srim else (hrs - hts + srim * km) / (stim + srim)
        above = hts + stim * db - (hts * (km - db) + hrs * db) / km
        expected = above * math.sqrt(0.002 * km / (WAVELENGTH * db * (km - db)))
    above_m = [hi - (hts * (km - di) + hrs * di) / km for di, hi in zip(d, h, strict=True)]
    columns = [torch.tensor(c, dtype=torch.float64) for c in (above_m, d, [km - di for di in d])]
    on_one = torch.zeros(len(edges), dtype=torch.int64)
    found = equivalent_edge(on_one, columns[0], columns[1] * 1000, columns[2] * 1000, 1) / math.sqrt(WAVELENGTH)
    assert float(found) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_one_edge_is_its_own_equivalent() -> None:
    above, first, second = (torch.tensor([v], dtype=torch.float64) for v in (4.0, 100.0, 30.0))
    one = torch.ones((), dtype=torch.float64)
    equivalent = equivalent_edge(torch.tensor([0]), above, first, second, 1)
    assert float(equivalent) == pytest.approx(float(knife_edge_nu(above, first, second, one)))


# What stands in the way.


def test_without_buildings_all_is_in_sight() -> None:
    seen = sight_past(Buildings(), scattered(0, 3, high=30), scattered(1, 5), torch.full((3,), FC))
    assert seen.line_of_sight.shape == (5, 3)
    assert seen.line_of_sight.all()
    assert not seen.indoor.any()
    assert float(seen.diffraction_db.abs().max() + seen.penetration_db.abs().max()) == 0


def test_a_wall_blocks_and_costs_what_the_hand_formula_gives() -> None:
    # A wall of a millimetre: one edge, 4 m above a level line, 60 m and 40 m from its ends.
    seen = look([house(60, -50, 60.001, 50, 14)], [0, 0, 10], [100, 0, 10])
    edge = j(4 * math.sqrt(2 / WAVELENGTH * (1 / 60 + 1 / 40)))
    assert not seen.line_of_sight.item()
    expected = edge + (1 - math.exp(-edge / 6)) * (10 + 0.02 * 0.1)
    assert seen.diffraction_db.item() == pytest.approx(expected, abs=0.01)


def test_on_a_steep_path_the_edge_is_that_of_the_detour() -> None:
    # 2 sqrt(detour / wavelength) is what Eq. 26 approximates.
    seen = look([house(20, -50, 20.001, 50, 12)], [0, 0, 25], [30, 0, 1.5])
    detour = math.hypot(20, 13) + math.hypot(10, 10.5) - math.hypot(30, 23.5)
    edge = j(2 * math.sqrt(detour / WAVELENGTH))
    assert seen.diffraction_db.item() == pytest.approx(edge + (1 - math.exp(-edge / 6)) * 10, abs=0.5)


def test_a_high_antenna_looks_over_a_low_building() -> None:
    seen = look([house(40, -10, 60, 10, 5)], [0, 0, 60], [100, 0, 1.5])
    assert seen.line_of_sight.item()
    assert seen.diffraction_db.item() == 0


def test_a_roof_just_under_the_line_costs_although_in_sight() -> None:
    seen = look([house(49, -10, 51, 10, 9.9)], [0, 0, 10], [100, 0, 10])
    assert seen.line_of_sight.item()
    assert 3 < seen.diffraction_db.item() < 12.5


def test_a_building_beside_the_path_costs_nothing() -> None:
    seen = look([house(40, 5, 60, 30, 50)], [0, 0, 10], [100, 0, 1.5])
    assert seen.line_of_sight.item()
    assert seen.diffraction_db.item() == 0


def test_a_roof_hides_what_is_close_under_it_from_the_antenna_on_it() -> None:
    roof = [house(-20, -20, 20, 20, 30)]
    near, far = look(roof, [0, 0, 33], [25, 0, 1.5]), look(roof, [0, 0, 33], [400, 0, 1.5])
    assert not near.line_of_sight.item()
    assert far.line_of_sight.item()
    assert not near.antenna_indoor.item()


@pytest.mark.parametrize("seed", range(3))
def test_sight_and_loss_are_those_of_the_profile_that_shapely_cuts(seed: int) -> None:
    buildings = town(seed)
    outlines = [shapely.Polygon(b.footprint[0]) for b in buildings]
    antennas, places = scattered(seed, 4, low=10, high=40), scattered(seed + 100, 30)
    outdoors = [not any(o.contains(shapely.Point(p[:2])) for o in outlines) for p in places.tolist()]
    free = [not any(o.contains(shapely.Point(a[:2])) for o in outlines) for a in antennas.tolist()]
    seen = sight_past(Buildings(tuple(buildings)), antennas, places, torch.full((4,), FC))
    assert seen.indoor.logical_not().tolist() == outdoors
    blocked = 0
    for p, c in zip(*np.nonzero(np.outer(outdoors, free)), strict=True):
        a, b = antennas[c].numpy(), places[p].numpy()
        edges = []
        for outline, building in zip(outlines, buildings, strict=True):
            cut = outline.boundary.intersection(shapely.LineString([a[:2], b[:2]]))
            for point in [] if cut.is_empty else shapely.get_parts(cut):
                t = math.hypot(point.x - a[0], point.y - a[1]) / math.hypot(*(b - a)[:2])
                edges.append((t, building.height_m - (a[2] + t * (b[2] - a[2]))))
        in_sight = all(above <= 0 for _, above in edges)
        blocked += not in_sight
        assert bool(seen.line_of_sight[p, c]) == in_sight
        slant = math.dist(a, b)
        cosine = math.hypot(*(b - a)[:2]) / slant
        nu = torch.tensor([-math.inf], dtype=torch.float64)
        if edges:
            t, above = torch.tensor(edges, dtype=torch.float64).T
            ways = [(part * slant).clamp_min(NEAREST_EDGE_M) for part in (t, 1 - t)]
            nu = equivalent_edge(torch.zeros(len(t), dtype=torch.int64), above * cosine, ways[0], ways[1], 1)
        expected = bullington_db(nu / math.sqrt(WAVELENGTH), torch.tensor(slant)).item()
        assert seen.diffraction_db[p, c].item() == pytest.approx(expected, abs=1e-6)
    assert blocked > 5


def test_many_paths_are_traced_as_each_alone() -> None:
    buildings, places = Buildings(tuple(town(5))), scattered(3, 1500)
    antennas = torch.cat([scattered(2, 4, low=25, high=25)] * 2)
    fc = torch.tensor([3.5] * 4 + [0.7] * 4)
    whole = sight_past(buildings, antennas, places, fc)
    for c in (0, 6):
        part = sight_past(buildings, antennas[[c]], places[1300:], fc[[c]])
        assert torch.equal(part.line_of_sight[:, 0], whole.line_of_sight[1300:, c])
        assert torch.allclose(part.diffraction_db[:, 0], whole.diffraction_db[1300:, c], atol=1e-9)
        assert torch.allclose(part.penetration_db[:, 0], whole.penetration_db[1300:, c], atol=1e-9)
    # Same spot, lower carrier: the same sight, less loss in the shadow.
    assert torch.equal(whole.line_of_sight[:, :4], whole.line_of_sight[:, 4:])
    shadow = ~whole.line_of_sight[:, :4]
    assert shadow.any()
    assert (whole.diffraction_db[:, 4:][shadow] < whole.diffraction_db[:, :4][shadow]).all()


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_either_end_may_be_the_antenna(seed: int) -> None:
    buildings = Buildings(tuple(town(seed, houses=25, span=120)))
    ends, others = scattered(seed, 6, span=120, high=25), scattered(seed + 1, 8, span=120, high=25)
    there = sight_past(buildings, ends, others, torch.full((6,), FC))
    back = sight_past(buildings, others, ends, torch.full((8,), FC))
    assert torch.equal(there.line_of_sight, back.line_of_sight.T)
    assert torch.equal(there.indoor, back.antenna_indoor)
    assert torch.allclose(there.diffraction_db, back.diffraction_db.T, atol=1e-6)
    assert torch.allclose(there.penetration_db, back.penetration_db.T, atol=1e-6)


@given(seed=st.integers(0, 10_000), taller=st.floats(0, 30), which=st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_a_taller_building_never_makes_it_louder(seed: int, taller: float, which: int) -> None:
    low = town(seed, houses=10, span=150)
    high = list(low)
    high[which] = Building(low[which].footprint, low[which].height_m + taller)
    antennas, places = scattered(seed, 3, span=150, low=65, high=70), scattered(seed + 1, 30, span=150)
    fc = torch.full((3,), FC)
    before, after = (sight_past(Buildings(tuple(b)), antennas, places, fc) for b in (low, high))
    assert (after.diffraction_db >= before.diffraction_db - 1e-9).all()
    assert (before.line_of_sight | ~after.line_of_sight).all()


# Walls.


@pytest.mark.parametrize(
    ("material", "loss"),
    [
        ("glass", 2 + 0.2 * FC),
        ("irr_glass", 25.4 + 0.11 * FC),
        ("concrete", 5 + 4 * FC),
        ("wood", 4.85 + 0.12 * FC),
    ],
)
def test_indoors_costs_the_wall_and_the_way_behind_it(material: str, loss: float) -> None:
    seen = look([house(50, -10, 80, 10, 12, material)], [0, 0, 25], [58, 0, 1.5])
    assert seen.indoor.item()
    assert seen.line_of_sight.item()  # nothing but its own wall
    assert seen.diffraction_db.item() == 0
    assert seen.penetration_db.item() == pytest.approx(5 + loss + 0.5 * 8)


def test_on_the_roof_is_outdoors() -> None:
    seen = look([house(50, -10, 80, 10, 12)], [0, 0, 25], [58, 0, 13.5])
    assert not seen.indoor.item()
    assert seen.penetration_db.item() == 0


def test_a_courtyard_is_outdoors_and_in_the_shadow_of_its_wings() -> None:
    block = Building((box(50, -30, 110, 30), box(60, -20, 100, 20)), 20)
    seen = look([block], [0, 0, 25], [80, 0, 1.5])
    assert not seen.indoor.item()
    assert not seen.line_of_sight.item()
    assert seen.penetration_db.item() == 0


def test_behind_the_courtyard_the_near_wing_shadows_and_only_the_far_wall_is_gone_through() -> None:
    block = Building((box(50, -30, 110, 30), box(60, -20, 100, 20)), 20)
    seen = look([block], [0, 0, 25], [105, 0, 1.5])
    assert seen.indoor.item()
    assert not seen.line_of_sight.item()
    wall = float(wall_db(LOW_LOSS, torch.tensor(FC)))
    assert seen.penetration_db.item() == pytest.approx(wall + 0.5 * 5)


def test_parts_of_a_building_that_overlap_are_one_wall() -> None:
    parts = [house(50, -10, 80, 10, 12, "wood"), house(54, -5, 80, 5, 20, "concrete")]
    seen = look(parts, [0, 0, 25], [58, 0, 1.5])
    assert seen.line_of_sight.item()
    assert seen.penetration_db.item() == pytest.approx(5 + 5 + 4 * FC + 0.5 * 4)


def test_under_one_roof_there_is_no_wall_but_the_way() -> None:
    seen = look([house(0, 0, 50, 50, 12)], [10, 10, 3], [40, 10, 1.5])
    assert seen.antenna_indoor.item()
    assert seen.penetration_db.item() == pytest.approx(0.5 * 30)


def test_under_the_mast_on_ones_own_roof_the_roof_is_the_wall() -> None:
    seen = look([house(0, 0, 50, 50, 12)], [10, 10, 15], [10, 10, 1.5])
    assert not seen.antenna_indoor.item()
    wall = float(wall_db(LOW_LOSS, torch.tensor(FC)))
    assert seen.penetration_db.item() == pytest.approx(wall + 0.5 * 10.5)
    assert seen.diffraction_db.item() == 0


# The loss that comes of it.


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_the_loss_lies_between_sight_and_no_sight(seed: int) -> None:
    seen = sight_past(
        Buildings(tuple(town(seed, houses=20, span=150))), scattered(seed, 3, 150, 25, 25),
        scattered(seed + 1, 20, 150), torch.full((3,), FC),
    )  # fmt: skip
    los, nlos = torch.full((20, 3), 90.0, dtype=torch.float64), torch.full((20, 3), 115.0, dtype=torch.float64)
    outdoors = loss_db(seen, los, nlos) - seen.penetration_db
    assert (outdoors >= los - 1e-9).all()
    assert (outdoors <= nlos + 1e-9).all()
    clear = seen.line_of_sight & (seen.diffraction_db == 0)
    assert torch.allclose(outdoors[clear], los[clear])


# Reading.


def collection(*features: dict[str, Any]) -> str:
    return json.dumps({"type": "FeatureCollection", "features": list(features)})


def feature(properties: dict[str, Any], coordinates: Any = None, kind: str = "Polygon") -> dict[str, Any]:
    coordinates = [box(0, 0, 20, 10)] if coordinates is None else coordinates
    return {
        "type": "Feature", "id": "way/7", "properties": properties,
        "geometry": {"type": kind, "coordinates": coordinates},
    }  # fmt: skip


def test_heights_come_in_metres_in_words_and_in_storeys() -> None:
    in_metres, in_words = feature({"height_m": 9.5}), feature({"height": "12 m"})
    in_storeys = feature({"building:levels": "4", "material": "wood"})
    found = Buildings.from_geojson(collection(in_metres, in_words, in_storeys)).buildings
    assert [b.height_m for b in found] == [9.5, 12, 12]
    assert [b.material for b in found] == ["low_loss", "low_loss", "wood"]


def test_a_multipolygon_is_several_buildings() -> None:
    parts = [[box(0, 0, 20, 10)], [box(100, 0, 120, 10), box(105, 2, 115, 8)]]
    found = Buildings.from_geojson(collection(feature({"height": 10}, parts, "MultiPolygon")), origin_m=(50, 0))
    assert [len(b.footprint) for b in found.buildings] == [1, 2]
    assert found.buildings[1].footprint[0][0] == (50, 0)


def test_longitude_and_latitude_are_laid_into_the_plane_of_the_network() -> None:
    plane = Projection(Origin(latitude=50.0, longitude=8.0))
    longitude, latitude = 8.01, 50.01
    ring = box(longitude, latitude, longitude + 3e-4, latitude + 2e-4)
    found = Buildings.from_geojson(collection(feature({"height": 10}, [ring])), plane.to_metres)
    assert found.buildings[0].footprint[0][0] == pytest.approx((717, 1112), abs=2)
    assert float(shapely.area(shapely.Polygon(found.buildings[0].footprint[0]))) == pytest.approx(21.5 * 22.2, rel=0.01)


GOOD = {"height": 10}
BAD = {
    "crosses itself": (collection(feature(GOOD, [[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]])), "Self-intersection"),
    "negative height": (collection(feature({"height": -3})), "height of -3"),
    "height not a number": (collection(feature({"height": "tall"})), "'tall'"),
    "height NaN": (collection(feature({"height": math.nan})), "height of nan"),
    "no height": (collection(feature({})), "no height"),
    "unknown material": (collection(feature({**GOOD, "material": "cheese"})), "cheese"),
    "a point": (collection(feature(GOOD, [0, 0], "Point")), "geometry Point"),
    "no geometry": (collection({"type": "Feature", "id": "way/7", "geometry": None}), "geometry None"),
    "NaN corner": (collection(feature(GOOD, [[[0, 0], [10, math.nan], [10, 10]]])), "not finite"),
    "two corners": (collection(feature(GOOD, [[[0, 0], [10, 0], [0, 0]]])), "2 different corners"),
    "no rings": (collection(feature(GOOD, [[5, 5], [6, 6]])), "rings of number pairs"),
    "empty polygon": (collection(feature(GOOD, [])), "empty geometry"),
    "degrees as metres": (collection(feature(GOOD, [box(8.0, 50.0, 8.0002, 50.0001)])), "to_metres"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_feature_is_named_with_cause_and_remedy(case: str) -> None:
    text, cause = BAD[case]
    with pytest.raises(InvalidGeometry, match=r"feature 0 \(way/7\) has .*; ") as error:
        Buildings.from_geojson(text)
    assert cause in str(error.value)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("{", "no JSON"),
        ("[]", "FeatureCollection"),
        (collection(), "no features"),
        ('{"type": "Feature"}', "Collection"),
    ],
)
def test_a_file_that_is_no_collection_is_refused(text: str, cause: str) -> None:
    with pytest.raises(InvalidGeometry, match=cause):
        Buildings.from_geojson(text)


def test_metres_are_not_taken_for_degrees() -> None:
    metres = collection(feature(GOOD, [box(5000, 0, 5020, 10)]))
    with pytest.raises(InvalidGeometry, match="no longitude and latitude"):
        Buildings.from_geojson(metres, Projection(Origin(latitude=50, longitude=8)).to_metres)


def test_positions_that_are_nowhere_are_refused() -> None:
    with pytest.raises(InvalidGeometry, match=r"places_m\[1\] is not finite"):
        sight_past(Buildings(), scattered(0, 1), torch.tensor([[0, 0, 1.5], [0, math.nan, 1.5]]), torch.tensor([FC]))
    with pytest.raises(InvalidGeometry, match="east, north, height"):
        sight_past(Buildings(), torch.zeros(3, 2), scattered(0, 1), torch.full((3,), FC))
    with pytest.raises(InvalidGeometry, match="carrier"):
        sight_past(Buildings(), scattered(0, 2), scattered(0, 1), torch.tensor([FC]))


def test_without_shapely_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shapely", None)
    with pytest.raises(MissingLibrary, match=r"twinloop\[geo\]"):
        Buildings((house(0, 0, 10, 10, 5),))
