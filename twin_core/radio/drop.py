"""One draw of a whole radio world: users indoors and out, sight, walls, correlated shadowing, antennas.

The twin keeps expected propagation and learns what telemetry shows. A drop instead draws everything that TR 38.901
leaves to chance (clauses 7.2, 7.4), so that populations of users have the spread that the report gives them: for
calibration against 3GPP's own results, for synthetic networks, for studies.
"""

from dataclasses import dataclass

import numpy as np
import torch

from schemas.topology import CellSite, Topology
from twin_core.exceptions import InvalidSettings
from twin_core.grid import Grid
from twin_core.radio import penetration
from twin_core.radio.antenna import directions, gain_dbi
from twin_core.radio.layout import Layout
from twin_core.radio.path_loss import MODELS, UT_HEIGHT_M, Scenario, rma_breakpoint_m, uma_environment_m
from twin_core.radio.shadowing import shadowing_db

Tensor = torch.Tensor

_FLOOR_M = 3.0
# Standard deviation and correlation distance of shadowing indoors (Table 7.5-6, column O2I), and the correlation
# distance of sight (Table 7.6.3.1-2).
_O2I_SHADOW: dict[Scenario, tuple[float, float]] = {"UMa": (7.0, 10.0), "UMi": (7.0, 7.0), "RMa": (8.0, 120.0)}
_SIGHT_M: dict[Scenario, float] = {"UMa": 50.0, "UMi": 50.0, "RMa": 60.0}
_MOST_ROUNDS = 200


@dataclass(frozen=True)
class DropSettings:
    """What a population of users is like; the defaults are those of TR 38.901 Table 7.2-1.

    Attributes
    ----------
    indoor_share
        Of users in buildings, the others stand outdoors at 1.5 m.
    floors
        Fewest and most floors of a building; a user is on any of them.
    high_loss_share
        Of buildings whose walls are of the high-loss model.
    nearest_m
        Least distance from an antenna on the ground; 35 m (UMa, RMa) or 10 m (UMi) where None.
    irr_glass
        Intercept and slope of the loss of coated glass where it is not that of the present release.
    pixels_per_isd
        How finely the area's edge is drawn.
    """

    indoor_share: float = 0.8
    floors: tuple[int, int] = (4, 8)
    high_loss_share: float = 0.5
    nearest_m: float | None = None
    irr_glass: tuple[float, float] | None = None
    pixels_per_isd: int = 40

    def __post_init__(self) -> None:
        """Refuse shares that are none and buildings without floors."""
        if not (0 <= self.indoor_share <= 1 and 0 <= self.high_loss_share <= 1):
            raise InvalidSettings(
                f"indoor_share {self.indoor_share} and high_loss_share {self.high_loss_share} must lie in 0..1"
            )
        if not 1 <= self.floors[0] <= self.floors[1]:
            raise InvalidSettings(f"floors {self.floors} are no range; give the fewest, at least 1, and the most")


@dataclass(frozen=True, eq=False)
class Drop:
    """Users and their links.

    Attributes
    ----------
    x_m, y_m, height_m
        [P] where users are.
    indoor
        [P] bool.
    line_of_sight
        [P, C] bool, of the way outdoors; the same for the cells of a site.
    gain_db
        [P, C] coupling gain: everything between the antenna port and the user.
    """

    x_m: Tensor
    y_m: Tensor
    height_m: Tensor
    indoor: Tensor
    line_of_sight: Tensor
    gain_db: Tensor


@dataclass(frozen=True, eq=False)
class _Dice:
    random: torch.Generator

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.random, dtype=torch.float64)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.random, dtype=torch.float64)

    def whole(self, below: int, count: int) -> Tensor:
        return torch.randint(below, (count,), generator=self.random)


def drop(
    topology: Topology, users: int, seed: int, settings: DropSettings | None = None, tilt_deg: float | Tensor = 6.0
) -> Drop:
    """Draw users and all that lies between them and the cells.

    Parameters
    ----------
    topology
        Cells; with `images_m` the area has no edge.
    users
        P.
    seed
        Of all randomness.
    settings
        What users are like.
    tilt_deg
        Electrical down-tilt of all cells, or [C].

    Raises
    ------
    InvalidSettings
        If there is no user to draw, or no room for users that far from the antennas.

    Examples
    --------
    >>> from twin_core.layouts import hexagonal
    >>> one = drop(hexagonal(sites=7, wraparound=True), users=50, seed=1)
    >>> tuple(one.gain_db.shape), bool(one.gain_db.isfinite().all())
    ((50, 21), True)
    """
    if users < 1:
        raise InvalidSettings(f"{users} users is nothing to draw; ask for at least 1")
    how, dice, layout = settings or DropSettings(), _Dice(torch.Generator().manual_seed(seed)), Layout.of(topology)
    names = layout.scenarios
    indoor = dice.uniform(users) < how.indoor_share
    low, high = how.floors
    floors = low + dice.whole(high - low + 1, users)
    floor = torch.floor(dice.uniform(users) * floors)
    height = torch.where(indoor, _FLOOR_M * floor, 0.0) + UT_HEIGHT_M
    deepest = max(penetration.DEEPEST_M[n] for n in names)
    depth = torch.where(indoor, deepest * torch.minimum(dice.uniform(users), dice.uniform(users)), 0.0)
    nearest = how.nearest_m if how.nearest_m is not None else (10.0 if set(names) == {"UMi"} else 35.0)
    x, y = _places(topology, layout, nearest + depth, how.pixels_per_isd, dice)
    dx, dy = layout.offsets_m(x, y)
    sight, loss = _loss(layout, (x, y), torch.hypot(dx, dy), height, indoor, depth, dice)
    wall = _walls(topology.cells, indoor, how, dice)
    seen = directions(dx, dy, layout.height_m, layout.azimuth_deg, layout.mechanical_tilt_deg, height[:, None])
    tilt = torch.as_tensor(tilt_deg, dtype=torch.float64).expand(len(names))
    antenna = gain_dbi(seen, tilt, torch.zeros(len(names), dtype=torch.float64), layout.panels, filled=False)
    inside = penetration.inside_db(depth)[:, None]
    return Drop(x, y, height, indoor, sight, antenna - loss - wall - inside)


def _places(
    topology: Topology, layout: Layout, nearest_m: Tensor, pixels_per_isd: int, dice: _Dice
) -> tuple[Tensor, Tensor]:
    """[P] places, uniform over the network's area but no nearer to an antenna than its own distance."""
    sites = np.array([[c.x_m, c.y_m] for c in topology.cells])
    grid = Grid.around(sites[:, 0], sites[:, 1], pixels_per_isd, topology.images_m)
    xy = torch.empty(len(nearest_m), 2, dtype=torch.float64)
    todo = torch.arange(len(nearest_m))
    for _ in range(_MOST_ROUNDS):
        pixel = dice.whole(grid.pixels, len(todo))
        jitter = (dice.uniform(len(todo), 2) - 0.5) * grid.spacing_m
        xy[todo] = torch.stack([grid.x_m[pixel], grid.y_m[pixel]], dim=1) + jitter
        dx, dy = layout.offsets_m(xy[todo, 0], xy[todo, 1])
        todo = todo[torch.hypot(dx, dy).min(dim=1).values < nearest_m[todo]]
        if not len(todo):
            return xy[:, 0], xy[:, 1]
    raise InvalidSettings(
        f"after {_MOST_ROUNDS} draws {len(todo)} users still stand within {float(nearest_m.max()):g} m of an antenna; "
        "lower nearest_m, or give sites further apart"
    )


def _loss(
    layout: Layout,
    places: tuple[Tensor, Tensor],
    d2d: Tensor,
    height: Tensor,
    indoor: Tensor,
    depth: Tensor,
    dice: _Dice,
) -> tuple[Tensor, Tensor]:
    """[P, C] whether a link is in sight outdoors, and its path loss with shadowing, dB."""
    sight, out = torch.empty_like(d2d, dtype=torch.bool), torch.empty_like(d2d)
    sites, names, one = layout.sites, layout.scenarios, torch.ones((), dtype=torch.float64)
    for name in sorted(set(names)):
        model, own = MODELS[name], torch.tensor([n == name for n in names])

        def correlated(length_m: float, own: Tensor = own) -> Tensor:
            return shadowing_db(*places, layout.site_of_cell, one, length_m, dice.random)[:, own]

        at, d, h, fc, ut = layout.site_of_cell[own], d2d[:, own], layout.height_m[own], layout.carrier_ghz[own], height
        chance = torch.special.ndtr(correlated(_SIGHT_M[name]))
        seen = chance < model.los_probability((d - depth[:, None]).clamp_min(0), ut[:, None])
        link: list[Tensor] = [d, h, fc, ut[:, None]]
        if name == "UMa":
            whether, which = dice.uniform(len(ut), sites)[:, at], dice.uniform(len(ut), sites)[:, at]
            link.append(uma_environment_m(d, ut[:, None], whether, which))
        loss = torch.where(seen, model.los_db(*link), model.nlos_db(*link))
        near, far, blocked = model.shadow_db
        beyond = d > rma_breakpoint_m(h, fc, ut[:, None])
        in_sight = torch.where(beyond, far, near) * correlated(model.shadow_m[0])
        out_of_sight = blocked * correlated(model.shadow_m[1])
        spread, length = _O2I_SHADOW[name]
        inside = spread * correlated(length)
        sight[:, own] = seen
        out[:, own] = loss + torch.where(indoor[:, None], inside, torch.where(seen, in_sight, out_of_sight))
    return sight, out


def _walls(cells: tuple[CellSite, ...], indoor: Tensor, how: DropSettings, dice: _Dice) -> Tensor:
    """[P, C] loss of the wall, its spread between buildings included, dB; 0 outdoors."""
    carrier = torch.tensor([c.carrier_ghz for c in cells], dtype=torch.float64)
    coated = dice.uniform(len(indoor)) < how.high_loss_share
    low, high = penetration.LOW_LOSS, penetration.HIGH_LOSS
    wall = torch.where(
        coated[:, None],
        penetration.wall_db(high, carrier, how.irr_glass),
        penetration.wall_db(low, carrier, how.irr_glass),
    )
    spread = torch.where(coated, high.spread_db, low.spread_db) * dice.normal(len(indoor))
    return torch.where(indoor[:, None], wall + spread[:, None], 0.0)
