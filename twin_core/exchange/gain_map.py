"""Path gains that others computed or measured, on a twin's pixels.

Two forms are read, both in dB between isotropic antennas (antennas are the twin's own, so that tilt keeps its effect):

- GeoTIFF (``.tif``): a band for each cell, whose description is the cell's distinguished name or short name. Any
  coordinate system where the topology has an origin; else, or without a system, the network's metres.
- NumPy (``.npz``): `cells` [B] names; `x_m`, `y_m` in the network's metres; `gain_db` either [N, B] at places
  x_m [N], y_m [N], or [B, ny, nx] on a regular raster with x_m [nx] and y_m [ny] rising or falling evenly.
"""

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from schemas.exceptions import InvalidName
from schemas.names import canonical, short_name
from twin_core.exceptions import InvalidFile
from twin_core.exchange.libraries import needed_for
from twin_core.exchange.projection import Projection
from twin_core.grid import Grid
from twin_core.network import Network

Floats = NDArray[np.float64]
Resampling = Literal["nearest", "bilinear"]
_KEYS = ("x_m", "y_m", "cells", "gain_db")


def read_map(
    path: Path, network: Network, resampling: Resampling = "bilinear", *, elsewhere: bool | Collection[str] = False
) -> torch.Tensor:
    """Path gains on the pixels of a network.

    Parameters
    ----------
    path
        A ``.tif``, ``.tiff`` or ``.npz`` file, see above.
    network
        Its grid and cells.
    resampling
        Of rasters: "nearest", or "bilinear" in dB over the known of the four neighbours. Of scattered places each
        pixel takes the mean in dB of those inside it.
    elsewhere
        Whether the file may hold cells that the network lacks, or which ones (DNs, of another region, say); they are
        passed over.

    Returns
    -------
    Tensor
        [P, C] dB, NaN where unknown.

    Raises
    ------
    InvalidFile
        If the file is no such map, its cells are others, or a gain is above 0 dB.
    MissingLibrary
        For GeoTIFF without rasterio.

    Examples
    --------
    >>> import tempfile
    >>> from twin_core.layouts import hexagonal
    >>> network = Network.of(hexagonal(sites=1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "drive.npz"
    ...     np.savez(path, x_m=[0.0, 3.0], y_m=[50.0, 52.0], cells=["gnb1-2"], gain_db=[[-90.0], [-92.0]])
    ...     gain = read_map(path, network)
    >>> gain[~gain.isnan()], int(gain[:, 1].isnan().sum()) == network.grid.pixels - 1
    (tensor([-91.], dtype=torch.float64), True)
    """
    suffix = path.suffix.lower()
    if suffix in (".tif", ".tiff"):
        names, gain = _from_geotiff(path, network, resampling)
    elif suffix == ".npz":
        names, gain = _from_npz(path, network.grid, resampling)
    else:
        raise InvalidFile(f"{path}: {suffix or 'no suffix'}; maps of gains are read from .tif, .tiff and .npz")
    gain = np.where(np.isneginf(gain), np.nan, gain)  # what a ray tracer writes where no ray arrives
    if bool((gain > 0).any()):
        raise InvalidFile(
            f"{path}: a gain of {np.nanmax(gain):g} dB; a path gain is below 0 dB: negate losses, leave antennas out"
        )
    out = np.full((network.grid.pixels, len(network.cells)), np.nan)
    for band, column in enumerate(_columns(names, network, elsewhere, path)):
        if column is not None:
            out[:, column] = gain[band]
    return torch.from_numpy(out)


def _columns(names: Sequence[str], network: Network, elsewhere: bool | Collection[str], path: Path) -> list[int | None]:
    """Cell of each band; None for one that may be passed over."""
    passed_over = set() if isinstance(elsewhere, bool) else {*elsewhere, *map(short_name, elsewhere)}
    by_name = {short_name(cell): i for i, cell in enumerate(network.cells)}
    if len(by_name) < len(network.cells):
        by_name = {}  # two elements share their last value: only full names tell cells apart
    by_name |= {cell: i for i, cell in enumerate(network.cells)}
    columns: list[int | None] = []
    for band, name in enumerate(names, start=1):
        try:
            full = name if name in by_name else canonical(name)
        except InvalidName:
            full = name
        column = by_name.get(full)
        if column is None and elsewhere is not True and full not in passed_over:
            near = get_close_matches(name, by_name, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"its first cell is {network.cells[0]!r};"
            raise InvalidFile(
                f"{path}: band {band} is of {name!r}, and network {network.topology.network_id} has no such cell; "
                f"{hint} describe each band by its cell"
            )
        if column is not None and column in columns:
            raise InvalidFile(f"{path}: two bands are of {network.cells[column]}; leave one")
        columns.append(column)
    if not any(column is not None for column in columns):
        raise InvalidFile(
            f"{path}: no band is of a cell of network {network.topology.network_id}; check which it is for"
        )
    return columns


def _from_geotiff(path: Path, network: Network, resampling: Resampling) -> tuple[list[str], Floats]:
    with needed_for("GeoTIFF"):
        import rasterio
        from rasterio.windows import Window
    try:
        with rasterio.open(path) as file:
            names = [name or "" for name in file.descriptions]
            x, y = _in_system_of(file.crs, network, path)
            to = ~file.transform
            # A raster's whole numbers are corners; wanted are the middles of its pixels.
            column, row = to.a * x + to.b * y + to.c - 0.5, to.d * x + to.e * y + to.f - 0.5
            # No more of a large raster than the twin's area, and a pixel around it to go between.
            left, right = (int(np.clip(v, 0, file.width)) for v in (np.floor(column.min()), np.ceil(column.max()) + 1))
            top, bottom = (int(np.clip(v, 0, file.height)) for v in (np.floor(row.min()), np.ceil(row.max()) + 1))
            if left >= right or top >= bottom:
                raise InvalidFile(f"{path}: the map does not touch the network's area; check its coordinate system")
            window = Window(left, top, right - left, bottom - top)
            raster = file.read(window=window, masked=True).astype(np.float64).filled(np.nan)
    except rasterio.errors.RasterioError as error:
        raise InvalidFile(f"{path}: no GeoTIFF that can be read ({error}); check path and format") from error
    return names, _sampled(raster, row - top, column - left, resampling)


def _in_system_of(crs: Any, network: Network, path: Path) -> tuple[Floats, Floats]:
    """[P] the network's pixels in the coordinates of a raster."""
    x, y = network.grid.x_m.numpy(), network.grid.y_m.numpy()
    if crs is None or not (crs.is_geographic or crs.is_projected):
        return x, y
    origin = network.topology.origin
    if origin is None:
        raise InvalidFile(
            f"{path} has places on the earth ({crs.to_string()[:60]}), network {network.topology.network_id} has none; "
            "give the topology an origin (latitude and longitude of x = y = 0)"
        )
    with needed_for("maps in other coordinate systems"):
        from pyproj import Transformer
    plane = Projection(origin).crs
    return Transformer.from_crs(plane, crs.to_wkt(), always_xy=True).transform(x, y)


def _sampled(raster: Floats, row: Floats, column: Floats, resampling: Resampling) -> Floats:
    """[B, P] a raster [B, ny, nx] at fractional rows and columns; NaN beyond its pixels."""
    _, ny, nx = raster.shape
    # A pixel reaches half its side about its middle; the small share more is for rounding of coordinates.
    reach = 0.5 + 1e-6
    inside = (row >= -reach) & (row <= ny - 1 + reach) & (column >= -reach) & (column <= nx - 1 + reach)
    r, c = (np.clip(np.where(inside, v, 0), 0, n - 1) for v, n in ((row, ny), (column, nx)))
    nearest = raster[:, np.rint(r).astype(int), np.rint(c).astype(int)]
    if resampling == "bilinear":
        r0, c0 = np.floor(r).astype(int), np.floor(c).astype(int)
        total, weight = np.zeros_like(nearest), np.zeros_like(nearest)
        for dr in (0, 1):
            for dc in (0, 1):
                share = np.abs(1 - dr - (r - r0)) * np.abs(1 - dc - (c - c0))
                value = raster[:, np.minimum(r0 + dr, ny - 1), np.minimum(c0 + dc, nx - 1)]
                known = np.isfinite(value)
                total += share * np.where(known, value, 0)
                weight += share * known
        # Known ground ends where the nearest pixel is unknown, not half a pixel earlier.
        nearest = np.where(np.isfinite(nearest), total / np.where(weight > 0, weight, 1), nearest)
    found: Floats = np.where(inside, nearest, np.nan)
    return found


def _from_npz(path: Path, grid: Grid, resampling: Resampling) -> tuple[list[str], Floats]:
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in _KEYS if key not in file]
            if missing:
                raise InvalidFile(f"{path}: lacks {', '.join(missing)}; a map of gains holds {', '.join(_KEYS)}")
            names = [str(name) for name in np.atleast_1d(file["cells"])]
            x, y, gain = (np.asarray(file[key], np.float64) for key in ("x_m", "y_m", "gain_db"))
    except (ValueError, BadZipFile, EOFError) as error:
        if isinstance(error, InvalidFile):
            raise
        raise InvalidFile(f"{path}: no NumPy archive of numbers and names ({error}); write it with np.savez") from error
    if x.ndim != 1 or y.ndim != 1 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InvalidFile(f"{path}: x_m and y_m must be lists of finite metres")
    if gain.shape == (len(x), len(names)) and len(x) == len(y):
        return names, _averaged(grid, x, y, gain)
    if gain.shape == (len(names), len(y), len(x)):
        return names, _sampled(gain, _rows(grid.y_m, y, path, "y_m"), _rows(grid.x_m, x, path, "x_m"), resampling)
    raise InvalidFile(
        f"{path}: gain_db has shape {gain.shape}; for {len(names)} cells it must be [{len(x)} places, {len(names)}] "
        f"or [{len(names)}, {len(y)} rows, {len(x)} columns]"
    )


def _rows(at: torch.Tensor, axis: Floats, path: Path, name: str) -> Floats:
    """[P] fractional index of places on an even axis."""
    step = (axis[-1] - axis[0]) / max(1, len(axis) - 1)
    if len(axis) < 2 or step == 0 or np.abs(np.diff(axis) - step).max() > 1e-3 * abs(step):
        raise InvalidFile(f"{path}: {name} of a raster must rise or fall in even steps; give places one by one instead")
    found: Floats = (at.numpy() - axis[0]) / step
    return found


def _averaged(grid: Grid, x: Floats, y: Floats, gain: Floats) -> Floats:
    """[B, P] means of gains [N, B] over the places within each pixel."""
    pixel = grid.pixel_of(x, y)
    off = np.maximum(np.abs(grid.x_m.numpy()[pixel] - x), np.abs(grid.y_m.numpy()[pixel] - y))
    there = (off <= grid.spacing_m / 2 * (1 + 1e-9))[:, None] & np.isfinite(gain)
    total, count = np.zeros((grid.pixels, gain.shape[1])), np.zeros((grid.pixels, gain.shape[1]))
    np.add.at(total, pixel, np.where(there, gain, 0))
    np.add.at(count, pixel, there)
    mean: Floats = np.where(count > 0, total / np.maximum(count, 1), np.nan).T
    return mean
