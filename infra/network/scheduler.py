"""How a cell's users share it: exact processor sharing within a slice of time."""

from typing import NamedTuple

import numpy as np

from infra.network.arrays import Floats, Index


class Shares(NamedTuple):
    """What each waiting user got of a slice, seconds."""

    service_s: Floats  # of the whole carrier's time
    present_s: Floats  # from the slice's start until the user was done, or the whole slice


def share(cell: Index, needed_s: Floats, slice_s: float, cells: int, part: Floats | None = None) -> Shares:
    """Share each cell's slice equally among its waiting users; who is done leaves the rest to the others.

    Parameters
    ----------
    cell
        [N] cell of each waiting user.
    needed_s
        [N] seconds of the whole carrier that would serve the user's backlog, > 0.
    part
        [C] share of the carrier that is there for them; all of it by default.

    Examples
    --------
    Of 10 s, the first needs 1 and is done when both have had 1 each; the second gets the rest.

    >>> share(np.array([0, 0]), np.array([1.0, 20.0]), 10.0, 1)
    Shares(service_s=array([1., 9.]), present_s=array([ 2., 10.]))
    """
    n = len(cell)
    if n == 0:
        return Shares(np.zeros(0), np.zeros(0))
    order = np.lexsort((needed_s, cell))
    c, need = cell[order], needed_s[order]
    count = np.bincount(c, minlength=cells)
    first = np.cumsum(count) - count
    total = np.cumsum(need)
    before = total - need
    before -= before[np.minimum(first, n - 1)][c]  # what those of my cell who need less than me get together
    waiting = (count + first)[c] - np.arange(n)  # those of my cell who need at least as much as me
    done_at = before + waiting * need  # when I am done, had the slice no end
    done = done_at <= slice_s
    time_s = np.full(cells, slice_s)
    if part is not None:
        # With a part of the carrier all takes longer, in the slice's time.
        time_s *= part
        done = done_at <= time_s[c]
        done_at /= np.maximum(part, 1e-9)[c]
    # Who is not done gets the level that fills the slice; it is set by the first of the cell who is not.
    level = np.full(cells, np.inf)
    late = np.flatnonzero(~done)[::-1]
    level[c[late]] = (time_s[c[late]] - before[late]) / waiting[late]
    service, present = np.empty(n), np.empty(n)
    service[order] = np.where(done, need, level[c])
    present[order] = np.where(done, done_at, slice_s)
    return Shares(service, present)
