"""How far a twin is to be trusted with a verdict, from its own fidelity and from how it predicted lately."""

from collections.abc import Mapping, Sequence

import numpy as np

from loops.inner.evidence import Array, Basis, Problem
from schemas.names import cell_of
from schemas.ndt import Layer
from schemas.strategies import Strategy
from twin_core.control import control_of, unseen_hours
from twin_core.exceptions import TwinError
from twin_core.kpis import PRB, THROUGHPUT, UNSERVED, USERS, kpis_of
from twin_core.twin import Twin

# Fewer periods than this say nothing about how much predictions miss by.
_FEWEST = 3
# Share of cells without telemetry in the last periods from which on the data is not enough to judge on.
_MOST_SILENT = 0.25


def basis_of(
    twin: Twin,
    newest_ms: int,
    residuals: Mapping[str, Array] | None = None,
    strategy: Strategy | None = None,
    silent: Sequence[str] = (),
) -> Basis:
    """What a verdict on this twin rests on.

    Parameters
    ----------
    newest_ms
        Event time of the newest telemetry known.
    residuals
        KPI to [n, C] observed minus predicted, one period ahead, of the latest periods; NaN where missing.
    strategy
        To see whether it fits the network at all.
    silent
        DNs of cells that have not reported lately.
    """
    problems = []
    cells = len(twin.network.cells)
    if len(silent) > _MOST_SILENT * cells:
        problems.append(Problem(f"{len(silent)} of {cells} cells have sent no telemetry lately", Layer.DATA))
    elif strategy is not None and (mute := sorted(set(silent) & touched(strategy))):
        text = f"cells that it changes have sent no telemetry lately: {', '.join(mute)}"
        problems.append(Problem(text, Layer.DATA))
    if strategy is not None and (misfit := _misfit(twin, strategy)):
        problems.append(Problem(misfit, Layer.ALGORITHM))
    return Basis(
        period_end_ms=twin.period_end_ms,
        newest_ms=newest_ms,
        granularity_s=twin.network.topology.granularity_s,
        gate_open=twin.gate_open,
        model_versions=dict(twin.model_versions),
        noise_sd=noise_of(residuals or {}, twin),
        bias=bias_of(residuals or {}, twin),
        problems=tuple(problems),
        not_covered=tuple(f"the demand at {t}, which was never seen" for t in unseen_hours(twin, strategy))
        if strategy is not None
        else (),
    )


def touched(strategy: Strategy) -> set[str]:
    """DNs of the cells whose objects a strategy sets."""
    return {cell_of(c.object) for c in strategy.all_changes}


def _misfit(twin: Twin, strategy: Strategy) -> str:
    """Why a strategy cannot be put into force on this network, '' if it can."""
    try:
        control_of(twin, strategy)
    except TwinError as error:
        return f"it does not fit the network: {error}"
    return ""


def noise_of(residuals: Mapping[str, Array], twin: Twin) -> dict[str, Array]:
    """[C + 1] standard deviation of one period's observation about its prediction, for each KPI; the network last.

    Root mean square of the residuals, so that a bias counts as well.
    """
    cells = len(twin.network.cells)
    out = {}
    for kpi in kpis_of(twin.network):
        given = residuals.get(kpi)
        if given is None or len(given) < _FEWEST:
            # What is not reported cannot be observed to differ: unserved demand is the twin's own measure.
            out[kpi] = np.full(cells + 1, 0.0 if kpi == UNSERVED else np.nan)
            continue
        values = _with_network(kpi, given, twin)
        n = np.isfinite(values).sum(axis=0)
        out[kpi] = np.where(n >= _FEWEST, np.sqrt(np.nansum(values**2, axis=0) / np.maximum(n, 1)), np.nan)
    return out


def bias_of(residuals: Mapping[str, Array], twin: Twin) -> dict[str, Array]:
    """[C + 1] mean residual of each KPI as far as it is sure, else 0; the network last.

    Sure means: what of its size is left after two standard errors.
    """
    out = {}
    for kpi, given in residuals.items():
        if len(given) < _FEWEST:
            continue
        values = _with_network(kpi, given, twin)
        n = np.maximum(np.isfinite(values).sum(axis=0), 1)
        mean = np.nansum(values, axis=0) / n
        spread = np.sqrt(np.nansum((values - mean) ** 2, axis=0) / np.maximum(n - 1, 1) / n)
        sure = np.maximum(np.abs(mean) - 2 * spread, 0.0)
        out[kpi] = np.where(n >= _FEWEST, np.sign(mean) * sure, 0.0)
    return out


def _with_network(kpi: str, given: Array, twin: Twin) -> Array:
    """[n, C + 1] residuals with the network's: of each period's cells as its KPI is made of theirs, a sum or a mean."""
    known = np.isfinite(given)
    weight = known * (twin.predicted[USERS].numpy() if kpi == THROUGHPUT else 1.0)
    whole = (np.where(known, given, 0.0) * weight).sum(axis=1)
    if kpi in (THROUGHPUT, PRB):
        whole = whole / np.maximum(weight.sum(axis=1), 1e-9)
    return np.column_stack([given, whole])


def by_cell(power_w: Array, twin: Twin) -> Array:
    """[n, C] residuals of power from [n, E] of managed elements: each cell bears its share, so that they sum up."""
    of = twin.network.element_of.numpy()
    return np.asarray(power_w[:, of] / np.bincount(of)[of])
