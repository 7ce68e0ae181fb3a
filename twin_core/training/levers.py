"""From actions of agents to configurations of a network."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from gymnasium.spaces import Box, MultiDiscrete
from numpy.typing import ArrayLike, NDArray

from schemas.levers import CIO_GRID_DB, LEVERS
from twin_core.configuration import Configuration
from twin_core.exceptions import InvalidAction, InvalidTask
from twin_core.network import Network
from twin_core.training.task import BIAS, CELL_STATE, DISCRETE, TILT, TX_POWER, Move, Task

Tensor = torch.Tensor
Array = NDArray[np.float64]
# Beyond this an action on the cell state switches it.
_DECISIVE = 0.5
_GRID_DB = torch.tensor(CIO_GRID_DB, dtype=torch.float64)


class Levers:
    """A task's moves on the cells of a network.

    Bounds never move a lever by themselves: one that starts beyond them stays until an action moves it, and never
    goes further out.

    Parameters
    ----------
    network, task
        Whose cells, which moves.

    Raises
    ------
    InvalidTask
        If the power of some cell would leave the range of its attribute.
    """

    def __init__(self, network: Network, task: Task) -> None:
        self.cells, self.count = len(network.cells), len(task.moves)
        self._moves, self._discrete = task.moves, task.actions == DISCRETE
        self._rated_dbm = network.rated_dbm
        self._related = torch.zeros(self.cells, self.cells, dtype=torch.bool)
        for cell, neighbours in enumerate(network.neighbours):
            self._related[cell, list(neighbours)] = True
        lowest_dbm, highest_dbm = (10 * np.log10(mw) for mw in (LEVERS[TX_POWER].low, LEVERS[TX_POWER].high))
        for move in task.moves:
            if move.lever != TX_POWER:
                continue
            beyond = (self._rated_dbm + move.low < lowest_dbm) | (self._rated_dbm + move.high > highest_dbm)
            if bool(beyond.any()):
                cell = int(beyond.nonzero()[0])
                raise InvalidTask(
                    f"power from {move.low:g} to {move.high:g} dB of rated {float(self._rated_dbm[cell]):.1f} dBm "
                    f"takes {network.cells[cell]} out of {lowest_dbm:.0f} to {highest_dbm:.0f} dBm; narrow the bounds"
                )

    def space(self, cells: int) -> Box | MultiDiscrete:
        """Actions of an agent that holds so many cells: all moves of the first, then of the next."""
        n = cells * self.count
        if self._discrete:
            return MultiDiscrete(np.full(n, 3))
        return Box(-1.0, 1.0, (n,), np.float32)

    def read(self, action: ArrayLike, lead: tuple[int, ...]) -> Array:
        """[*lead, L] steps in -1..1 that an action of the shape (*lead[:-1], lead[-1] x L) asks for.

        Raises
        ------
        InvalidAction
            If it has another shape, or values that are no numbers or out of bounds.
        """
        given = np.asarray(action)
        shape = (*lead[:-1], lead[-1] * self.count)
        if given.shape != shape:
            raise InvalidAction(f"the action has shape {given.shape}, not {shape}: {self.count} moves a cell")
        if given.dtype.kind not in ("iu" if self._discrete else "fiu"):
            kind = "whole numbers 0, 1 or 2" if self._discrete else "numbers from -1 to 1"
            raise InvalidAction(f"the action holds {given.dtype}; give {kind}")
        low, high = (0, 2) if self._discrete else (-1, 1)
        inside = (given >= low) & (given <= high)  # false for NaN
        if not inside.all():
            place = tuple(int(i) for i in np.argwhere(~inside)[0])
            raise InvalidAction(
                f"the action holds {given[place]} at {list(place)}, outside [{low}, {high}]; clip it, and see why it "
                "came to this"
            )
        steps = given.astype(np.float64) - (1 if self._discrete else 0)
        return steps.reshape(*lead, self.count)

    def moved(self, configuration: Configuration, steps: Array) -> Configuration:
        """The configuration after these steps ([C, L]); the very same where none changes anything."""
        by_cell = torch.from_numpy(steps)
        changed: dict[str, Tensor] = {}
        for i, move in enumerate(self._moves):
            name, change = _CHANGES[move.lever]
            now = getattr(configuration, name)
            after = change(self, move, now, by_cell[:, i])
            if not torch.equal(after, now):
                changed[name] = after
        return replace(configuration, **changed) if changed else configuration

    def _power(self, move: Move, now: Tensor, part: Tensor) -> Tensor:
        return _within(now, now + move.step * part, self._rated_dbm + move.low, self._rated_dbm + move.high)

    def _tilt(self, move: Move, now: Tensor, part: Tensor) -> Tensor:
        # The attribute holds whole tenths of a degree.
        wanted = torch.where(part == 0, now, (10 * (now + move.step * part)).round() / 10)
        return _within(now, wanted, torch.full_like(now, move.low), torch.full_like(now, move.high))

    def _bias(self, move: Move, now: Tensor, part: Tensor) -> Tensor:
        places = (move.step * part).round().long()[:, None]
        here = (now[..., None] - _GRID_DB).abs().argmin(dim=-1)
        wanted = _GRID_DB[(here + places).clamp(0, len(_GRID_DB) - 1)]
        allowed = _GRID_DB[(move.low <= _GRID_DB) & (move.high >= _GRID_DB)]
        kept = _within(now, wanted, allowed[:1].expand_as(now), allowed[-1:].expand_as(now))
        return torch.where(self._related & (places != 0), kept, now)

    def _state(self, move: Move, now: Tensor, part: Tensor) -> Tensor:
        return (now | (part > _DECISIVE)) & ~(part < -_DECISIVE)


def _within(now: Tensor, wanted: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return wanted.clamp(torch.minimum(low, now), torch.maximum(high, now))


_Change = Callable[[Levers, Move, Tensor, Tensor], Tensor]
_CHANGES: dict[str, tuple[str, _Change]] = {
    TX_POWER: ("tx_power_dbm", Levers._power),
    TILT: ("tilt_deg", Levers._tilt),
    BIAS: ("cio_db", Levers._bias),
    CELL_STATE: ("active", Levers._state),
}
