"""Signal, interference and noise on the links between pixels and their cells."""

from dataclasses import dataclass

import torch

from twin_core.environment import LEAD_DB, Environment, knot_weights
from twin_core.flow.busy import BusyCurve
from twin_core.network import Network
from twin_core.radio.handover import Attachment
from twin_core.radio.link import efficiency
from twin_core.settings import PhysicsSettings

Tensor = torch.Tensor

# Lead beyond which users are where they are whatever handover does.
_BORDER_DB = 3.0


@dataclass(frozen=True, eq=False)
class Links:
    """Everything about a network at rest that does not depend on its load. Powers are relative to noise.

    Links stand in the order of their cells. Quantities of links are [E, N], N being all scenarios and periods in one
    axis: what belongs to one link lies together in memory.

    Attributes
    ----------
    signal
        [E] linear signal-to-noise ratio.
    interference
        [E, C] linear interference-to-noise ratio that each other cell at full load adds, the strongest left out.
    strongest
        [E] that of the strongest interferer.
    strongest_cell
        [E] which cell that is; the link's own cell where there is none.
    kbps_per_efficiency
        [E] what the serving cell's carrier delivers per bit/s/Hz.
    of_pixel, of_cell
        [E] ends of each link.
    share
        [E] of the pixel's users that are on this link, coverage counted in.
    links_of_cell
        [C] how many links each cell has.
    lost
        [P, C] share of the pixel's users that would be on this cell but find no coverage.
    spread_db
        Standard deviation of the SINR of a link's users.
    busy
        Capacity by the cell's own load.
    """

    signal: Tensor
    interference: Tensor
    strongest: Tensor
    strongest_cell: Tensor
    kbps_per_efficiency: Tensor
    of_pixel: Tensor
    of_cell: Tensor
    share: Tensor
    links_of_cell: Tensor
    lost: Tensor
    spread_db: float
    busy: BusyCurve

    def on_links(self, per_pixel: Tensor) -> Tensor:
        """[E, N] what of a pixel quantity ([N, P], a sum over users) is on each link."""
        return per_pixel.T.index_select(0, self.of_pixel) * self.share[:, None]

    def full_rate_kbps(self, load: Tensor) -> Tensor:
        """[E, N] what a link would deliver with all resource blocks when cells are loaded so ([N, C] in 0..1).

        The strongest interferer sends or it does not, and a user sees both in proportion to its load; the others are
        many enough to be seen at their mean. Taking the strongest at its mean as well would understate efficiency at
        medium load, since efficiency is convex in interference.
        """
        by_cell = load.T.contiguous()
        others = (self.interference @ by_cell).add_(1)
        busy = by_cell.index_select(0, self.strongest_cell)
        signal = self.signal[:, None]
        quiet = efficiency(signal / others, self.spread_db)
        disturbed = efficiency(signal / others.add_(self.strongest[:, None]), self.spread_db)
        return torch.lerp(quiet, disturbed, busy).mul_(self.kbps_per_efficiency[:, None])

    def per_cell(self, per_link: Tensor) -> Tensor:
        """[N, C] sums of a quantity of the links [E, N]."""
        if not len(per_link):
            return per_link.new_zeros(per_link.shape[1], len(self.links_of_cell))
        return torch.segment_reduce(per_link, "sum", lengths=self.links_of_cell, axis=0).T.contiguous()

    def per_link(self, per_cell: Tensor) -> Tensor:
        """[E, N] the value of each link's cell ([N, C])."""
        return per_cell.T.index_select(0, self.of_cell)


def uplift_db(environment: Environment, attachment: Attachment) -> Tensor:
    """[E] by how much the users of a link hear its cell better than their pixel does.

    Near a border it is selection: whom a weaker cell serves is who hears it better, whatever made it weaker; so the
    present lead counts. Far from it, it is the map's own error, which a change of power or tilt leaves as it is:
    there the usual lead counts, so that a decibel of power is a decibel of SINR.
    """
    near = attachment.lead_db.clamp_max(_BORDER_DB)
    change = knot_weights(near, LEAD_DB) - knot_weights(torch.full_like(near[:1], _BORDER_DB), LEAD_DB)
    far = knot_weights(attachment.usual_lead_db.clamp_min(_BORDER_DB), LEAD_DB)
    return (change + far) @ environment.uplift_db


def links_of(
    network: Network,
    environment: Environment,
    rsrp: Tensor,
    attachment: Attachment,
    on_air: Tensor,
    settings: PhysicsSettings,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Links:
    """Prepare the links of an attachment.

    Parameters
    ----------
    network
        Carriers and bandwidths.
    environment
        What was learned of users, capacity and its course with load.
    rsrp
        [P, C] dBm.
    attachment
        From `handover.attach`.
    on_air
        [C] which cells transmit.
    settings
        Noise of the users' receivers.
    dtype, device
        Where and in which precision the load is to be solved.
    """
    pixel, cell = attachment.pixel, attachment.cell
    noise = network.thermal_noise_dbm[cell] + settings.noise_figure_db
    signal = 10 ** ((rsrp[pixel, cell] + uplift_db(environment, attachment) - noise) / 10)
    cells = torch.arange(len(network.cells))
    disturbs = network.co_channel[cell] & on_air & (cells != cell[:, None])
    interference = torch.where(disturbs, 10 ** ((rsrp[pixel] - noise[:, None]) / 10), 0.0)
    strongest = interference.max(dim=1)
    interference.scatter_(1, strongest.indices[:, None], 0.0)
    lost = attachment.dense(len(cells)) * (1 - attachment.covered[:, None])
    rate = network.kbps_per_efficiency[cell] * environment.capacity_gain[cell]

    def there(t: Tensor) -> Tensor:
        return t.to(device=device, dtype=dtype).contiguous()

    return Links(
        signal=there(signal),
        interference=there(interference),
        strongest=there(strongest.values),
        strongest_cell=torch.where(strongest.values > 0, strongest.indices, cell).to(device),
        kbps_per_efficiency=there(rate),
        of_pixel=pixel.to(device),
        of_cell=cell.to(device),
        share=there(attachment.share * attachment.covered[pixel]),
        links_of_cell=torch.bincount(cell, minlength=len(network.cells)).to(device),
        lost=there(lost),
        spread_db=environment.spread_db,
        busy=BusyCurve.of(environment.busy_log, dtype, device),
    )
