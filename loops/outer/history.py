"""What the network reported, period by period: the only thing a stage is judged by."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Series:
    """One KPI over time.

    Parameters
    ----------
    names
        [N] DNs of the objects that report it: cells, or managed elements (PEE.AvgPower).
    values
        [T, N] in the KPI's unit, NaN where missing or suspect.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class KpiHistory:
    """KPIs of some periods.

    Parameters
    ----------
    period_ends_ms
        [T] ascending.
    series
        By KPI.
    """

    period_ends_ms: NDArray[np.int64]
    series: Mapping[str, Series]

    def until(self, period_end_ms: int) -> "KpiHistory":
        """What was known when that period ended."""
        keep = self.period_ends_ms <= period_end_ms
        return KpiHistory(
            self.period_ends_ms[keep], {k: Series(s.names, s.values[keep]) for k, s in self.series.items()}
        )


def history_from_rows(rows: Iterable[tuple[int, str, str, float | None]]) -> KpiHistory:
    """Columns from rows of (period end in ms, KPI, object, value), in any order; what no row says is NaN.

    Examples
    --------
    >>> h = history_from_rows([(60, "RRC.ConnMean", "a", 2.0), (120, "RRC.ConnMean", "b", 3.0)])
    >>> h.series["RRC.ConnMean"].values.tolist()
    [[2.0, nan], [nan, 3.0]]
    """
    table = list(rows)
    periods = sorted({r[0] for r in table})
    at = {p: i for i, p in enumerate(periods)}
    objects: dict[str, dict[str, int]] = {}
    for _, kpi, name, _ in table:
        names = objects.setdefault(kpi, {})
        names.setdefault(name, len(names))
    values = {k: np.full((len(periods), len(names)), np.nan) for k, names in objects.items()}
    for period, kpi, name, value in table:
        if value is not None:
            values[kpi][at[period], objects[kpi][name]] = value
    return KpiHistory(np.array(periods, dtype=np.int64), {k: Series(tuple(objects[k]), values[k]) for k in objects})
