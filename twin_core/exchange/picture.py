"""Radio maps as PNG: for eyes. Sites, where their sectors look, names where there is room."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from schemas.names import managed_element_of, parse, short_name
from twin_core.exceptions import InvalidFile
from twin_core.exchange.libraries import needed_for
from twin_core.exchange.radio_map import GAIN, SERVER, SINR, RadioMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More names than these hide the map.
_NAMED_SITES, _NAMED_AREAS = 30, 66
_DPI = 120
_STEP_DB = 5.0
_COLOURS = {SINR.name: "RdYlBu", GAIN.name: "cividis"}
# Percentiles between which colours run: a few pixels beneath a mast would take half of them.
_CUT = (1.0, 99.0)
_OFF_AIR = "#d62728"


def png(radio_map: RadioMap) -> bytes:
    """Draw a map with one band as the bytes of a PNG file.

    Raises
    ------
    InvalidFile
        If the map has several bands, or no pixel with a value.
    MissingLibrary
        Without matplotlib.
    """
    _check(radio_map)
    with needed_for("PNG", "matplotlib"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    grid = radio_map.twin.network.grid
    # As large as it takes for pixels to be seen, with the area's own proportions.
    width, height = (float(np.clip(n * 9 / max(grid.nx, grid.ny), 4.5, 9)) for n in (grid.nx, grid.ny))
    figure = Figure(figsize=(width + 1.8, height + 1.2), layout="constrained")
    FigureCanvasAgg(figure)
    draw_map(figure.add_subplot(), radio_map)
    out = io.BytesIO()
    figure.savefig(out, dpi=_DPI, format="png", bbox_inches="tight")
    return out.getvalue()


def draw_map(axes: "Axes", radio_map: RadioMap) -> None:
    """Draw a map with one band into a figure of one's own (matplotlib is in `twinloop[services]`).

    Raises
    ------
    InvalidFile
        If the map has several bands, or no pixel with a value.
    """
    _check(radio_map)
    if radio_map.quantity.name == SERVER.name:
        _draw_areas(axes, radio_map)
    else:
        _draw_values(axes, radio_map)
    _draw_sites(axes, radio_map)
    _label(axes, radio_map)


def _check(radio_map: RadioMap) -> None:
    if len(radio_map.bands) != 1:
        raise InvalidFile(
            f"a picture shows one band and the map has {len(radio_map.bands)}; choose a cell, or write GeoTIFF"
        )
    if not np.isfinite(radio_map.values).any():
        raise InvalidFile(f"no pixel has a value of {radio_map.quantity.title}; is the cell, or every cell, off air?")


def _extent(radio_map: RadioMap) -> tuple[float, float, float, float]:
    """West, east, south, north of the image in kilometres."""
    grid, half = radio_map.twin.network.grid, radio_map.twin.network.grid.spacing_m / 2
    edges = (
        grid.x0_m - half,
        grid.x0_m + (grid.nx - 0.5) * grid.spacing_m,
        grid.y0_m - half,
        grid.y0_m + (grid.ny - 0.5) * grid.spacing_m,
    )
    west, east, south, north = (edge / 1000 for edge in edges)
    return west, east, south, north


def _draw_values(axes: "Axes", radio_map: RadioMap) -> None:
    found = radio_map.values[np.isfinite(radio_map.values)]
    low, high = np.percentile(found, _CUT)
    low, high = np.floor(low / _STEP_DB) * _STEP_DB, np.ceil(high / _STEP_DB) * _STEP_DB
    quantity = radio_map.quantity
    image = axes.imshow(
        radio_map.rectangles[0],
        extent=_extent(radio_map),
        cmap=_COLOURS.get(quantity.name, "viridis"),
        vmin=low,
        vmax=max(high, low + _STEP_DB),
        interpolation="nearest",
    )
    beyond = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    extend = beyond[bool(found.min() < low), bool(found.max() > high)]
    axes.figure.colorbar(image, ax=axes, label=f"{quantity.title}, {quantity.unit}", extend=extend, shrink=0.85)


def _draw_areas(axes: "Axes", radio_map: RadioMap) -> None:
    """Served areas: neighbours in different colours, each with its cell's name."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    image = radio_map.rectangles[0]
    server = np.where(np.isfinite(image), image, -1).astype(np.int64)
    colours = colormaps["Set3"].N
    colour_of = np.array(_colouring(server, len(radio_map.twin.network.cells), colours))
    shown = np.where(server >= 0, colour_of[server], np.nan)
    axes.imshow(
        shown,
        extent=_extent(radio_map),
        cmap=ListedColormap(colormaps["Set3"](np.arange(colours))),
        vmin=-0.5,
        vmax=colours - 0.5,
        interpolation="nearest",
    )
    served = np.unique(server[server >= 0])
    if len(served) > _NAMED_AREAS:
        return
    grid = radio_map.twin.network.grid
    values = radio_map.values[0]
    x, y = grid.x_m.numpy(), grid.y_m.numpy()
    for cell in served:
        own = values == cell
        # Of the pixels deepest inside the area the one nearest to its middle: there the name has room.
        mx, my = float(np.median(x[own])), float(np.median(y[own]))
        deep = np.flatnonzero(_deepest(server == cell)[::-1].reshape(-1)[grid.cells_of_rectangle])
        at = deep[np.hypot(x[deep] - mx, y[deep] - my).argmin()]
        name = short_name(radio_map.twin.network.cells[cell])
        axes.text(x[at] / 1000, y[at] / 1000, name, ha="center", va="center", fontsize=7)


def _deepest(area: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[ny, nx] what is left of an area just before peeling layer by layer leaves nothing."""
    while True:
        around = np.pad(area, 1)
        inner = area & around[1:-1, :-2] & around[1:-1, 2:] & around[:-2, 1:-1] & around[2:, 1:-1]
        if not inner.any():
            return area
        area = inner


def _colouring(server: NDArray[np.int64], cells: int, colours: int) -> list[int]:
    """Colour of each cell, greedily: none that a neighbouring area has, as long as there are enough."""
    touching: list[set[int]] = [set() for _ in range(cells)]
    for a, b in ((server[:, 1:], server[:, :-1]), (server[1:], server[:-1])):
        pairs = np.unique(np.stack([a, b])[:, (a != b) & (a >= 0) & (b >= 0)], axis=1)
        for one, other in pairs.T.tolist():
            touching[one].add(other)
            touching[other].add(one)
    colour = [-1] * cells
    for cell in range(cells):
        taken = {colour[other] for other in touching[cell]}
        # Begin elsewhere for each cell, so that all colours are used and not just the first few.
        order = [(cell + i) % colours for i in range(colours)]
        colour[cell] = next((c for c in order if c not in taken), order[0])
    return colour


def _draw_sites(axes: "Axes", radio_map: RadioMap) -> None:
    twin = radio_map.twin
    topology = twin.network.topology
    from matplotlib.patheffects import withStroke

    west, east, south, north = _extent(radio_map)
    length = 0.028 * max(east - west, north - south)
    halo = [withStroke(linewidth=3, foreground="white")]
    mast: dict[str, Any] = {"color": "black", "path_effects": halo}
    azimuth = torch.deg2rad(
        twin.configuration.azimuth_deg + torch.tensor([c.azimuth_deg for c in topology.cells], dtype=torch.float64)
    ).tolist()
    sectors: dict[tuple[float, float], list[float]] = {}
    for cell, at, on_air in zip(topology.cells, azimuth, twin.physics.on_air.tolist(), strict=True):
        x, y = cell.x_m / 1000, cell.y_m / 1000
        sectors.setdefault((x, y), []).append(at)
        style = {**mast, "color": "black" if on_air else _OFF_AIR, "zorder": 3 if on_air else 4}
        axes.plot([x, x + length * np.sin(at)], [y, y + length * np.cos(at)], linewidth=1.4, **style)
    axes.plot(*zip(*sectors, strict=True), "o", markersize=3.5, zorder=5, **mast)
    if radio_map.quantity.name == SERVER.name or len(sectors) > _NAMED_SITES:
        return
    names = {(c.x_m / 1000, c.y_m / 1000): parse(managed_element_of(c.cell))[-1].value for c in topology.cells}
    for place, name in names.items():
        at = _widest_gap(sectors[place])
        side: dict[str, Any] = {"ha": "left" if np.sin(at) > 0.3 else "right" if np.sin(at) < -0.3 else "center"}
        side["va"] = "bottom" if np.cos(at) > 0.3 else "top" if np.cos(at) < -0.3 else "center"
        offset = 6 * np.sin(at), 6 * np.cos(at)
        axes.annotate(name, place, offset, textcoords="offset points", fontsize=7, zorder=6, **side, **mast)


def _widest_gap(azimuths: list[float]) -> float:
    """Where no sector looks, radians: the middle of the widest gap between azimuths."""
    ordered = np.sort(np.remainder(azimuths, 2 * np.pi))
    gaps = np.diff(np.append(ordered, ordered[0] + 2 * np.pi))
    return float(ordered[gaps.argmax()] + gaps.max() / 2)


def _label(axes: "Axes", radio_map: RadioMap) -> None:
    topology = radio_map.twin.network.topology
    origin = topology.origin
    place = "the network's origin" if origin is None else f"{origin.latitude:.5f}°, {origin.longitude:.5f}°"
    axes.set_xlabel(f"km east of {place}")
    axes.set_ylabel("km north")
    subject = radio_map.quantity.title
    if radio_map.bands[0] in radio_map.twin.network.cells:
        subject = f"{subject}, {short_name(radio_map.bands[0])}"
    axes.set_title(f"{subject} {radio_map.note}".strip())
    axes.set_title(f"{topology.network_id}, revision {radio_map.twin.revision}", loc="right", fontsize=7)
    off = int((~radio_map.twin.physics.on_air).sum())
    if off:
        axes.set_title(f"red sectors: off air ({off})", loc="left", fontsize=7, color=_OFF_AIR)
