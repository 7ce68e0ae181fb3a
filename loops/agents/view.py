"""The view that agents get, made from a twin."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch

from loops.agents.agent import Array, Attempt, NetworkView
from twin_core.twin import Twin

_WEAK_DBM, _DISTURBING_DB = -110.0, 6.0


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
        tx_power_dbm=twin.configuration.tx_power_dbm.numpy(),
        tilt_deg=twin.configuration.tilt_deg.numpy(),
        **coverage_of(twin),
        neighbours=twin.network.neighbours,
        heirs=heirs_of(twin),
        kpis=dict(kpis or {}),
        forecast={kpi: value.numpy() for kpi, value in twin.predicted.items()},
        slices=twin.network.slices,
        dedicated_ratio=twin.configuration.dedicated_ratio.numpy(),
        min_ratio=twin.configuration.min_ratio.numpy(),
        max_ratio=twin.configuration.max_ratio.numpy(),
        locked=frozenset(locked),
        history=tuple(sorted(history, key=lambda a: (a.period_end_ms, a.strategy_id))),
    )


def coverage_of(twin: Twin) -> dict[str, Array]:
    """Whom each cell reaches too weakly, and whom it disturbs.

    Returns
    -------
    dict
        weak_share [C]: share of a cell's users below -110 dBm, where coverage at home ends; disturbed_share [C]: share
        of the other cells' traffic at whose places it is heard within 6 dB of the serving cell.
    """
    cells = len(twin.network.cells)
    share = twin.physics.attachment.dense(cells).double()
    users = twin.environment.users[:, None] * share
    rsrp = twin.rsrp_dbm
    weak = (users * (rsrp < _WEAK_DBM)).sum(dim=0) / users.sum(dim=0).clamp_min(1e-9)
    traffic = twin.environment.demand_kbps
    on_air = twin.configuration.active & twin.environment.in_service
    served = torch.where(share > 0, rsrp, torch.nan).nan_to_num(-torch.inf).max(dim=1).values
    near = (rsrp > served[:, None] - _DISTURBING_DB) & on_air
    disturbed = (traffic[:, None] * (1 - share) * near).sum(dim=0) / traffic.sum().clamp_min(1e-9)
    return {"weak_share": weak.numpy(), "disturbed_share": disturbed.numpy()}


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
