"""What one granularity period told about the network: the twin's only input from outside."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin_core.configuration import Value
from twin_core.exceptions import InvalidObservation

Array = NDArray[np.float64]
_NO_FLOATS = np.zeros(0)
_NO_INTS = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class PeriodObservation:
    """Telemetry of one period, in the cell order of the topology. NaN is missing.

    Attributes
    ----------
    period_end_ms
        End of the period, epoch milliseconds (event time).
    granularity_s
        Length of the period, seconds.
    counters
        3GPP name to [C] values of this period (delta form); missing or suspect is NaN.
    element_power_w
        [E] PEE.AvgPower of the managed elements; empty if unknown.
    mr_cell_rsrp
        [N, C] dBm of each measurement report.
    mr_serving
        [N] cell that served the reporting user.
    mr_sinr_db
        [N] SS-SINR of the serving cell.
    mr_x_m, mr_y_m
        [N] where the report was made.
    configuration
        (object, attribute) to value: the full configuration or what changed.
    cells_out_of_service
        [C] cells that an alarm says are out of service; empty if unknown, which leaves the state as it was.
    """

    period_end_ms: int
    granularity_s: int
    counters: Mapping[str, Array] = field(default_factory=dict)
    element_power_w: Array = field(default_factory=lambda: _NO_FLOATS)
    mr_cell_rsrp: Array = field(default_factory=lambda: _NO_FLOATS)
    mr_serving: NDArray[np.int64] = field(default_factory=lambda: _NO_INTS)
    mr_sinr_db: Array = field(default_factory=lambda: _NO_FLOATS)
    mr_x_m: Array = field(default_factory=lambda: _NO_FLOATS)
    mr_y_m: Array = field(default_factory=lambda: _NO_FLOATS)
    configuration: Mapping[tuple[str, str], Value] = field(default_factory=dict)
    cells_out_of_service: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))

    def check(self, cells: int, elements: int) -> None:
        """Refuse what has the wrong shape; absurd values are the calibration's business.

        Raises
        ------
        InvalidObservation
            Naming the first field that does not fit.
        """
        n = len(self.mr_serving)
        shapes: dict[str, tuple[NDArray[Any], set[tuple[int, ...]]]] = {
            "element_power_w": (self.element_power_w, {(elements,), (0,)}),
            "mr_cell_rsrp": (self.mr_cell_rsrp, {(n, cells)} | ({(0,)} if n == 0 else set())),
            "mr_sinr_db": (self.mr_sinr_db, {(n,)}),
            "mr_x_m": (self.mr_x_m, {(n,)}),
            "mr_y_m": (self.mr_y_m, {(n,)}),
            "cells_out_of_service": (self.cells_out_of_service, {(cells,), (0,)}),
            **{f"counters[{name!r}]": (values, {(cells,)}) for name, values in self.counters.items()},
        }
        for name, (values, allowed) in shapes.items():
            if np.shape(values) not in allowed:
                raise InvalidObservation(
                    f"{name} has shape {np.shape(values)}, not {' or '.join(map(str, sorted(allowed)))}; "
                    "arrays follow the cell order of the topology"
                )
        if self.granularity_s <= 0 or self.period_end_ms < 0:
            raise InvalidObservation(
                f"a period of {self.granularity_s} s that ends at {self.period_end_ms} ms is none; give positive times"
            )
        if n and (self.mr_serving.min() < 0 or self.mr_serving.max() >= cells):
            raise InvalidObservation(f"mr_serving points outside the {cells} cells of the topology")

    def counter(self, name: str, cells: int) -> Array:
        """[C] a counter, NaN throughout if it was not reported."""
        values = self.counters.get(name)
        return np.full(cells, np.nan) if values is None else np.asarray(values, dtype=np.float64)
