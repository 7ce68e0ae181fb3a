"""The view that agents get, made from a twin."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch

from loops.agents.agent import Array, Attempt, NetworkView
from twin_core.twin import Twin


def view_of(
    twin: Twin,
    region: str,
    kpis: Mapping[str, Array] | None = None,
    locked: Iterable[str] = (),
    history: Iterable[Attempt] = (),
) -> NetworkView:
    """What agents see of a twin.

    Parameters
    ----------
    kpis
        3GPP name to [C] smoothed observations; without them only the twin's expectation is known.
    locked, history
        As in `NetworkView`.
    """
    return NetworkView(
        network_id=twin.network.topology.network_id,
        region=region,
        topology=twin.network.topology,
        revision=twin.revision,
        period_end_ms=twin.period_end_ms,
        active=twin.configuration.active.numpy(),
        in_service=twin.environment.in_service.numpy(),
        cio_db=twin.configuration.cio_db.numpy(),
        neighbours=twin.network.neighbours,
        heirs=heirs_of(twin),
        kpis=dict(kpis or {}),
        forecast={kpi: value.numpy() for kpi, value in twin.predicted.items()},
        locked=frozenset(locked),
        history=tuple(sorted(history, key=lambda a: (a.period_end_ms, a.strategy_id))),
    )


def heirs_of(twin: Twin) -> Array:
    """[C, C] share of each cell's traffic that each other cell would take over: per pixel, the strongest other cell."""
    cells = len(twin.network.cells)
    on_air = twin.configuration.active & twin.environment.in_service
    traffic = twin.environment.demand_kbps[:, None] * twin.physics.attachment.dense(cells)  # [P, C]
    out = torch.zeros(cells, cells, dtype=torch.float64)
    for c in torch.nonzero(on_air)[:, 0].tolist():
        others = on_air.clone()
        others[c] = False
        if not bool(others.any()):
            continue
        strongest = torch.where(others, twin.rsrp_dbm, -torch.inf).argmax(dim=1)
        out[c].index_add_(0, strongest, traffic[:, c].to(torch.float64))
    share = out / out.sum(dim=1, keepdim=True).clamp_min(1e-12)
    return np.asarray(torch.where(share > 0.01, share, 0.0).numpy())  # a stray pixel makes no heir
