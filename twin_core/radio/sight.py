"""Line of sight past buildings, diffraction over their roofs, and the walls between outdoors and indoors.

What a path meets lies in its own vertical plane: it goes over roofs, not round corners. Ground is flat. A place or an
antenna under the roof of a building is inside it; that building's wall on the way is gone through and is no edge.
The way inside is horizontal, as d_2D-in of TR 38.901, from that wall.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from twin_core.exceptions import InvalidGeometry
from twin_core.radio.buildings import WALLS, Buildings
from twin_core.radio.diffraction import bullington_db, equivalent_edge, wavelength_m
from twin_core.radio.penetration import inside_db, wall_db

Tensor = torch.Tensor
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# An edge nearer to an end than this counts as so far away: the formulas want many wavelengths.
NEAREST_EDGE_M = 1.0
# Paths are looked up in pieces of this length, so that a long slanting one does not meet all of the map in its box.
_PIECE_M = 250.0
# Paths at a time: bounds the memory to some 100 MB in a dense town.
_PATHS_AT_A_TIME = 4096
_TOUCH = 1e-9


@dataclass(frozen=True, eq=False)
class Sight:
    """What buildings do to the paths from antennas to places.

    Attributes
    ----------
    line_of_sight
        [P, C] no roof rises above the straight line; of a place indoors, as far as its wall.
    diffraction_db
        [P, C] loss over roofs; 0 where none reaches into the zone that matters, up to 12 dB where one only touches it.
    penetration_db
        [P, C] loss through walls and inside, of the place and of the antenna; 0 outdoors.
    indoor
        [P] whether the place is in a building.
    antenna_indoor
        [C] whether the antenna is. A mast that should stand on a roof and is listed here is too low, or the roof too
        high.
    """

    line_of_sight: Tensor
    diffraction_db: Tensor
    penetration_db: Tensor
    indoor: Tensor
    antenna_indoor: Tensor


def loss_db(sight: Sight, los_db: Tensor, nlos_db: Tensor) -> Tensor:
    """Path loss where buildings are known, in place of the mean over a probability of sight, dB.

    Outdoors the path-loss formula for line of sight with the diffraction over the roofs, never above the formula for
    no line of sight: that one is what was measured in shadows over all ways there, round corners and by reflection
    too, which the way over the roofs alone would exceed without bound. Walls and the way inside come on top.

    Parameters
    ----------
    sight
        From `sight_past`.
    los_db, nlos_db
        [P, C] path loss with and without line of sight, outdoors.

    Returns
    -------
    Tensor
        [P, C].
    """
    shadow = torch.maximum(los_db, nlos_db)
    return torch.minimum(los_db + sight.diffraction_db, shadow) + sight.penetration_db


def sight_past(buildings: Buildings, antennas_m: Tensor, places_m: Tensor, fc_ghz: Tensor) -> Sight:
    """Find what stands between antennas and places.

    Paths of antennas at one spot are traced once. Cost grows with paths times the buildings along them.

    Parameters
    ----------
    buildings
        What stands there.
    antennas_m
        [C, 3] east, north and height above ground, metres.
    places_m
        [P, 3] the same of the places.
    fc_ghz
        [C] carrier.

    Returns
    -------
    Sight
        In float64.

    Raises
    ------
    InvalidGeometry
        If positions have another shape or are not finite.

    Examples
    --------
    >>> from twin_core.radio.buildings import Building
    >>> wall = Building((((50, -20), (51, -20), (51, 20), (50, 20)),), height_m=15)
    >>> places = torch.tensor([[40.0, 0, 1.5], [80.0, 0, 1.5]])
    >>> seen = sight_past(Buildings((wall,)), torch.tensor([[0.0, 0, 25]]), places, torch.tensor([3.5]))
    >>> seen.line_of_sight[:, 0].tolist(), [round(loss, 1) for loss in seen.diffraction_db[:, 0].tolist()]
    ([True, False], [0.0, 37.2])
    """
    antennas, places = _positions("antennas_m", antennas_m), _positions("places_m", places_m)
    fc = torch.as_tensor(fc_ghz, dtype=torch.float64)
    if fc.shape != (len(antennas),) or not bool((fc > 0).all()):
        raise InvalidGeometry(f"fc_ghz has shape {tuple(fc.shape)} or is not positive; give one carrier an antenna")
    spots, spot_of = np.unique(antennas, axis=0, return_inverse=True)
    home, spot_home = _home(buildings, places), _home(buildings, spots)
    shape = (len(spots), len(places))
    blocked, nu, depth, wall = (np.zeros(shape) for _ in range(4))
    spot_depth, spot_wall = np.zeros(shape), np.zeros(shape)
    nu.fill(-np.inf)
    if buildings.buildings:
        out = [a.reshape(-1) for a in (blocked, nu, depth, wall, spot_depth, spot_wall)]
        for begin in range(0, blocked.size, _PATHS_AT_A_TIME):
            path = np.arange(begin, min(begin + _PATHS_AT_A_TIME, blocked.size))
            u, p = np.divmod(path, len(places))
            for whole, part in zip(out, _trace(buildings, spots, places, u, p, spot_home, home), strict=True):
                whole[path] = part

    def by_cell(a: Floats) -> Tensor:
        return torch.from_numpy(a.T[:, spot_of.reshape(-1)])

    length = torch.from_numpy(_length(antennas[None], places[:, None]))
    walls = torch.stack([wall_db(model, fc) for model in WALLS.values()])
    through = by_cell(wall) * walls[torch.from_numpy(_material(buildings, home.tallest))]
    spot_material = _material(buildings, spot_home.tallest)[spot_of.reshape(-1)]
    through = through + by_cell(spot_wall) * walls[torch.from_numpy(spot_material), torch.arange(len(fc))]
    return Sight(
        line_of_sight=by_cell(blocked) == 0,
        diffraction_db=bullington_db(by_cell(nu) / torch.sqrt(wavelength_m(fc)), length),
        penetration_db=through + inside_db(by_cell(depth) + by_cell(spot_depth)),
        indoor=torch.from_numpy(home.tallest >= 0),
        antenna_indoor=torch.from_numpy(spot_home.tallest[spot_of.reshape(-1)] >= 0),
    )


@dataclass(frozen=True, eq=False)
class _Home:
    """In which buildings points are: the tallest of each point or -1, and all pairs as point * B + building."""

    tallest: Ints
    pairs: Ints


def _positions(name: str, points: Tensor) -> Floats:
    found = torch.as_tensor(points, dtype=torch.float64).numpy()
    if found.ndim != 2 or found.shape[1] != 3:
        raise InvalidGeometry(f"{name} has shape {found.shape}; give [N, 3]: east, north, height")
    if not np.isfinite(found).all():
        row = int(np.flatnonzero(~np.isfinite(found).all(axis=1))[0])
        raise InvalidGeometry(f"{name}[{row}] is not finite: {found[row].tolist()}; leave it out or place it")
    return found


def _length(a: Floats, b: Floats) -> Floats:
    away: Floats = np.sqrt(((a - b) ** 2).sum(axis=-1))
    return away


def _home(buildings: Buildings, points: Floats) -> _Home:
    tallest = np.full(len(points), -1, dtype=np.int64)
    if not buildings.buildings or not len(points):
        return _Home(tallest, np.empty(0, dtype=np.int64))
    import shapely

    point, building = buildings.tree.query(shapely.points(points[:, :2]), predicate="within")
    under = points[point, 2] < buildings.height_m[building]
    point, building = point[under], building[under]
    rising = np.argsort(buildings.height_m[building], kind="stable")
    tallest[point[rising]] = building[rising]
    return _Home(tallest, np.sort(point * len(buildings.buildings) + building))


def _material(buildings: Buildings, home: Ints) -> Ints:
    return buildings.material[home] if buildings.buildings else np.zeros_like(home)


def _trace(
    buildings: Buildings, spots: Floats, places: Floats, u: Ints, p: Ints, spot_home: _Home, home: _Home
) -> tuple[Floats, ...]:
    """Of the paths from spots u to places p.

    Whether blocked, the parameter of the edge, metres inside and walls at the place, the same at the spot; [n] each.
    """
    start, end = spots[u], places[p]
    path, building, t = _crossings(buildings, start[:, :2], end[:, :2])
    last, at_place = _own_wall(buildings, path, building, t, p, home)
    first, at_spot = _own_wall(buildings, path, building, 1 - t, u, spot_home)
    ground, slant = _length(start[:, :2], end[:, :2]), _length(start, end)
    shared = (home.tallest[p] >= 0) & (home.tallest[p] == spot_home.tallest[u])
    depth, walls = _inside(buildings, last, home.tallest[p], shared, end, start)
    spot_depth, spot_walls = _inside(buildings, first, spot_home.tallest[u], shared, start, end)
    # Two ends in one building with no wall between: all of the way is inside, and counted once.
    depth = np.where(shared & ~walls, ground, depth)

    edge = ~(at_place | at_spot)
    path, t, roof = path[edge], t[edge], buildings.height_m[building[edge]]
    cosine = ground / np.maximum(slant, _TOUCH)
    above = (roof - start[path, 2] - t * (end - start)[path, 2]) * cosine[path]
    blocked = np.zeros(len(u))
    blocked[path[above > 0]] = 1
    along = [np.maximum(part * slant[path], NEAREST_EDGE_M) for part in (t, 1 - t)]
    parts = [torch.from_numpy(a) for a in (path, above, *along)]
    nu = equivalent_edge(parts[0], parts[1], parts[2], parts[3], len(u)).numpy()
    return blocked, nu, depth, walls.astype(float), spot_depth, spot_walls.astype(float)


def _own_wall(
    buildings: Buildings, path: Ints, building: Ints, t: Floats, end: Ints, home: _Home
) -> tuple[Floats, Bools]:
    """Where each path goes through the wall of the building that its end (t = 1) is in; which crossings are such.

    Returns
    -------
    tuple
        [n] t of the wall of the tallest building around the end, minus infinity without; [N] bool.
    """
    wall = np.full(len(end), -np.inf)
    own = np.isin(end[path] * len(buildings.buildings) + building, home.pairs)
    mine = np.flatnonzero(own)
    group, of_group = np.unique(path[mine] * len(buildings.buildings) + building[mine], return_inverse=True)
    last = np.full(len(group), -np.inf)
    np.maximum.at(last, of_group, t[mine])
    own[mine] = t[mine] >= last[of_group] - _TOUCH
    ways, inside = np.divmod(group, len(buildings.buildings))
    tallest = inside == home.tallest[end[ways]]
    wall[ways[tallest]] = last[tallest]
    return wall, own


def _inside(
    buildings: Buildings, wall: Floats, home: Ints, shared: Bools, here: Floats, there: Floats
) -> tuple[Floats, Bools]:
    """[n] metres from an end to the wall of its building at t = `wall`, and whether there is one on the way.

    Where the way does not leave the outline, the other end is above this very roof: the roof counts as the wall, and
    the metres are those under it.
    """
    walls = np.isfinite(wall)
    roof = (home >= 0) & ~walls & ~shared
    below = buildings.height_m[home] - here[:, 2]
    share = np.clip(below / np.maximum((there - here)[:, 2], _TOUCH), 0, 1)
    behind_wall = (1 - np.where(walls, wall, 0)) * _length(here[:, :2], there[:, :2])
    metres = np.where(walls, behind_wall, np.where(roof, share * _length(here, there), 0))
    return metres, walls | roof


def _crossings(buildings: Buildings, start: Floats, end: Floats) -> tuple[Ints, Ints, Floats]:
    """Where paths [n, 2] to [n, 2] cross walls, seen from above: path, building and share of the way, [N] each.

    A crossing may stand there twice (at a corner, or at the end of a piece); what is made of them are maxima.
    """
    import shapely

    away = end - start
    pieces = np.maximum(1, np.ceil(np.hypot(*away.T) / _PIECE_M)).astype(np.int64)
    path = np.repeat(np.arange(len(start)), pieces)
    number = np.arange(len(path)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    begin = start[path] + away[path] * (number / pieces[path])[:, None]
    stop = start[path] + away[path] * ((number + 1) / pieces[path])[:, None]
    low, high = np.minimum(begin, stop), np.maximum(begin, stop)
    piece, building = buildings.tree.query(shapely.box(low[:, 0], low[:, 1], high[:, 0], high[:, 1]))
    path = path[piece]
    middle, radius = buildings.circle
    off = np.abs(_cross(away[path], middle[building] - start[path]))
    near = off <= radius[building] * np.hypot(*away[path].T) * (1 + _TOUCH)
    path, building = path[near], building[near]

    first, count, wall_begin, wall_end = buildings.walls
    many = count[building]
    wall = np.arange(many.sum()) + np.repeat(first[building] - np.cumsum(many) + many, many)
    path, building = np.repeat(path, many), np.repeat(building, many)
    way, along, to_wall = away[path], wall_end[wall] - wall_begin[wall], wall_begin[wall] - start[path]
    turn = _cross(way, along)
    with np.errstate(divide="ignore", invalid="ignore"):
        t, s = _cross(to_wall, along) / turn, _cross(to_wall, way) / turn
        # A path along a wall (turn 0) meets the two walls at its ends.
        meets = (turn != 0) & (s >= -_TOUCH) & (s <= 1 + _TOUCH) & (t > 0) & (t < 1)
    return path[meets], building[meets], t[meets]


def _cross(a: Floats, b: Floats) -> Floats:
    area: Floats = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    return area
