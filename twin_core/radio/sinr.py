"""Signal, interference and noise on the links between pixels and their cells."""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from twin_core.environment import LEAD_DB, Environment, knot_weights
from twin_core.flow.busy import BusyCurve
from twin_core.network import Network
from twin_core.radio.handover import Attachment
from twin_core.radio.interference import TILE, Interference
from twin_core.radio.link import efficiency
from twin_core.radio.mcs import LinkAdaptation
from twin_core.settings import PhysicsSettings

Tensor = torch.Tensor

# Values of one quantity of links that a second-level cache holds beside the others.
_CACHED = 1 << 17
# Of many configurations, among so many cells that are the loudest in the first the strongest interferer is sought.
_LOUDEST = 6
# Lead beyond which users are where they are whatever handover does.
_BORDER_DB = 3.0


@dataclass(frozen=True, eq=False)
class LinkEnds:
    """Links E in the order of their cells, as far as sums over cells need them.

    Attributes
    ----------
    of_cell
        [E] serving cell of each.
    links_of_cell
        [C] how many links each cell has.
    """

    of_cell: Tensor
    links_of_cell: Tensor

    def __len__(self) -> int:
        """E."""
        return len(self.of_cell)

    def per_cell(self, per_link: Tensor) -> Tensor:
        """[N, C] sums of a quantity of the links [E, N]."""
        if not len(per_link):
            return per_link.new_zeros(per_link.shape[1], len(self.links_of_cell))
        return torch.segment_reduce(per_link, "sum", lengths=self.links_of_cell, axis=0).T.contiguous()

    def per_link(self, per_cell: Tensor) -> Tensor:
        """[E, N] the value of each link's cell ([N, C])."""
        return per_cell.T.index_select(0, self.of_cell)

    def of_cells(self, which: Tensor) -> tuple[Tensor, "LinkEnds"]:
        """[E'] which links some cells ([C] bool) have, and those alone; the other cells have none then."""
        rows = torch.nonzero(which[self.of_cell])[:, 0]
        return rows, LinkEnds(self.of_cell[rows], torch.where(which, self.links_of_cell, 0))


@dataclass(frozen=True, eq=False)
class Links(LinkEnds):
    """Everything about a network at rest that does not depend on its load. Powers are relative to noise.

    Links stand in the order of their cells. Quantities of links are [E, N], N being all scenarios and periods in one
    axis: what belongs to one link lies together in memory. Where several configurations share the gains, N is theirs,
    and what is [E, 1] of one configuration is [E, N].

    Attributes
    ----------
    signal
        [E, 1 | N] linear signal-to-noise ratio.
    interference
        What all other cells add at full load; of one configuration without the strongest.
    strongest
        [E, 1 | N] that of the strongest interferer.
    strongest_cell
        [E] which cell that is; the link's own cell where there is none.
    rivalled, rivals
        [R] links whose strongest interferer is not the same in all configurations, and [R, N] which it is.
    sending
        [C, N] power of each cell relative to that for which interference stands; None where it is that.
    kbps_per_efficiency
        [E] what the serving cell's carrier delivers per bit/s/Hz.
    of_pixel
        [E] the other end of each link.
    share
        [E, 1 | N] of the pixel's users that are on this link, coverage counted in.
    lost
        [E, 1 | N] of the pixel's users that would be on this link but find no coverage.
    spread_db
        Standard deviation of the SINR of a link's users.
    adaptation
        What a user gets at a SINR; see `twin_core.radio.link.efficiency`.
    busy
        Capacity by the cell's own load.
    """

    signal: Tensor
    interference: Interference
    strongest: Tensor
    strongest_cell: Tensor
    rivalled: Tensor
    rivals: Tensor
    sending: Tensor | None
    kbps_per_efficiency: Tensor
    of_pixel: Tensor
    share: Tensor
    lost: Tensor
    spread_db: float
    adaptation: LinkAdaptation | None
    busy: BusyCurve

    def on_links(self, per_pixel: Tensor) -> Tensor:
        """[E, N] what of a pixel quantity ([N, P], a sum over users) is on each link."""
        return per_pixel.T.index_select(0, self.of_pixel) * self.share

    def without_coverage(self, per_pixel: Tensor) -> Tensor:
        """[N, C] what of a pixel quantity ([N, P]) finds no coverage, at the cell that would serve it."""
        return self.per_cell(per_pixel.T.index_select(0, self.of_pixel) * self.lost)

    def _blocks(self, columns: int) -> list[tuple[int, int]]:
        """Ranges of links whose quantities of so many columns stay in a processor's cache."""
        links = len(self)
        if self.of_cell.device.type != "cpu" or links * columns <= _CACHED:
            return [(0, links)]
        step = max(1, _CACHED // columns // TILE) * TILE
        return [(k, min(k + step, links)) for k in range(0, links, step)]

    def sinr(self, load: Tensor, power: Tensor | None = None) -> Tensor:
        """[E, N] linear mean SINR.

        Parameters
        ----------
        load
            [N, C] in 0..1.
        power
            [N, C] linear, relative to that for which the links were prepared, attachment held; 1 where not given.
        """
        _, sent = self._sent(load if power is None else load * power)
        louder = None if power is None else power.T.contiguous()
        parts = []
        for first, last in self._blocks(load.shape[0]):
            noise = self.interference.at(sent, first, last).add_(1)
            if self.sending is None:
                noise.addcmul_(self.strongest[first:last], sent.index_select(0, self.strongest_cell[first:last]))
            signal = self.signal[first:last]
            if louder is not None:
                signal = louder.index_select(0, self.of_cell[first:last]).mul_(signal)
            parts.append(signal / noise)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def full_rate_kbps(self, load: Tensor) -> Tensor:
        """[E, N] what a link would deliver with all resource blocks when cells are loaded so ([N, C] in 0..1).

        The strongest interferer sends or it does not, and a user sees both in proportion to its load; the others are
        many enough to be seen at their mean. Taking the strongest at its mean as well would understate efficiency at
        medium load, since efficiency is convex in interference.
        """
        by_cell, sent = self._sent(load)
        parts = []
        for first, last in self._blocks(load.shape[0]):
            some = slice(first, last)
            others, busy = self._without_strongest(by_cell, sent, first, last)
            signal = self.signal[some]
            quiet = self._efficiency(signal / others)
            disturbed = self._efficiency(signal / others.add_(self.strongest[some]))
            parts.append(quiet.lerp_(disturbed, busy).mul_(self.kbps_per_efficiency[some, None]))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def without_strongest(self, load: Tensor) -> tuple[Tensor, Tensor]:
        """[E, N] noise and interference but for the strongest, and how much of the time the strongest sends.

        Parameters
        ----------
        load
            [N, C] in 0..1.
        """
        return self._without_strongest(*self._sent(load), 0, len(self))

    def _sent(self, load: Tensor) -> tuple[Tensor, Tensor]:
        """[C, N] loads, and what cells send at them."""
        by_cell = load.T.contiguous()
        return by_cell, by_cell if self.sending is None else by_cell * self.sending

    def _without_strongest(self, by_cell: Tensor, sent: Tensor, first: int, last: int) -> tuple[Tensor, Tensor]:
        some = slice(first, last)
        others = self.interference.at(sent, first, last)
        busy = by_cell.index_select(0, self.strongest_cell[some])
        if self.sending is not None:
            low, high = torch.searchsorted(self.rivalled, self.rivalled.new_tensor([first, last])).tolist()
            busy.index_copy_(0, self.rivalled[low:high] - first, by_cell.gather(0, self.rivals[low:high]))
            others.addcmul_(self.strongest[some], busy, value=-1).clamp_min_(0)
        return others.add_(1), busy

    def _efficiency(self, sinr: Tensor) -> Tensor:
        return efficiency(sinr, self.spread_db, self.adaptation)


def uplift_db(environment: Environment, attachment: Attachment) -> Tensor:
    """[E] or [E, N] by how much the users of a link hear its cell better than their pixel does.

    Near a border it is selection: whom a weaker cell serves is who hears it better, whatever made it weaker; so the
    present lead counts. Far from it, it is the map's own error, which a change of power or tilt leaves as it is:
    there the usual lead counts, so that a decibel of power is a decibel of SINR.
    """
    near = attachment.lead_db.clamp_max(_BORDER_DB)
    change = knot_weights(near, LEAD_DB) - knot_weights(near.new_tensor(_BORDER_DB), LEAD_DB)
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
    power_db: Tensor | None = None,
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
        From `handover.attach`, or `handover.attach_many`.
    on_air
        [C] which cells transmit in any configuration.
    settings
        Noise of the users' receivers.
    dtype, device
        Where and in which precision the load is to be solved.
    power_db
        [C, N] power of each configuration against that of `rsrp`, -inf of cells off the air; none with a single one.
    """
    pixel, cell = attachment.pixel, attachment.cell
    noise_dbm = network.thermal_noise_dbm + settings.noise_figure_db
    least = noise_dbm.min()
    audible = (10 ** ((rsrp - least).to(dtype) / 10)).index_select(0, pixel)  # [E, C] over the least noise
    more_noise = 10 ** ((least - noise_dbm) / 10).to(dtype)
    if bool((more_noise != 1).any()):
        audible.mul_(more_noise[cell, None])
    signal = audible.gather(1, cell[:, None])
    if bool(environment.uplift_db.any()):
        signal = signal * (10 ** (_columns(uplift_db(environment, attachment)) / 10)).to(dtype)
    interference = audible.scatter_(1, cell[:, None], 0.0)
    disturbs = network.co_channel & on_air
    if not bool(disturbs.all()):
        interference.mul_(disturbs.to(dtype)[cell])
    if power_db is None:
        top = interference.max(dim=1, keepdim=True)
        loudest = _Loudest(
            top.values, torch.where(top.values > 0, top.indices, cell[:, None])[:, 0], cell[:0], cell[:0, None]
        )
        interference.scatter_(1, top.indices, 0.0)
        sending = None
    else:
        sending = (10 ** (power_db / 10)).to(dtype)
        signal = signal * sending.index_select(0, cell)
        loudest = _loudest(interference, sending, cell)
    share, covered = _columns(attachment.share), _columns(attachment.covered)[pixel]
    rate = network.kbps_per_efficiency[cell] * environment.capacity_gain[cell]

    def there(t: Tensor) -> Tensor:
        return t.to(device=device, dtype=dtype).contiguous()

    return Links(
        signal=there(signal),
        interference=Interference.of(interference, settings.interferers).to(device, dtype),
        strongest=there(loudest.gain),
        strongest_cell=loudest.cell.to(device),
        rivalled=loudest.rivalled.to(device),
        rivals=loudest.rivals.to(device),
        sending=None if sending is None else there(sending),
        kbps_per_efficiency=there(rate),
        of_pixel=pixel.to(device),
        of_cell=cell.to(device),
        share=there(share * covered),
        lost=there(share * (1 - covered)),
        links_of_cell=torch.bincount(cell, minlength=len(network.cells)).to(device),
        spread_db=environment.spread_db,
        adaptation=LinkAdaptation() if settings.link_curve == "mcs" else None,
        busy=BusyCurve.of(environment.busy_log, dtype, device),
    )


class _Loudest(NamedTuple):
    """The strongest interferer of each link, see `Links`."""

    gain: Tensor
    cell: Tensor
    rivalled: Tensor
    rivals: Tensor


def _loudest(interference: Tensor, sending: Tensor, cell: Tensor) -> _Loudest:
    """In each of N configurations: mostly it is the same. Where another may outdo it, the loudest few are weighed."""
    top = interference.topk(min(_LOUDEST, interference.shape[1]), dim=1)
    most, least = (top.values * bound[top.indices] for bound in (sending.amax(dim=1), sending.amin(dim=1)))
    first = top.indices[:, 0]
    gain = top.values[:, :1] * sending.index_select(0, first)
    rivalled = ((most > least.amax(dim=1, keepdim=True)).sum(dim=1) > 1) | (least[:, 0] <= 0)
    some = top.indices[rivalled]
    best = (top.values[rivalled][:, :, None] * sending[some]).max(dim=1)
    gain[rivalled] = best.values
    rivals = torch.where(best.values > 0, some.gather(1, best.indices), cell[rivalled, None])
    return _Loudest(gain, torch.where(top.values[:, 0] > 0, first, cell), torch.nonzero(rivalled)[:, 0], rivals)


def _columns(quantity: Tensor) -> Tensor:
    """[E, 1] of one configuration, [E, N] of many."""
    return quantity if quantity.dim() == 2 else quantity[:, None]
