"""Running sums per cell, from which PM counters are made at the end of a period."""

import numpy as np

from infra.network.arrays import Floats, Index

# Sums over time or events; units in the comments.
SUMS = (
    "used_s",  # time of the whole carrier in use for files
    "served_kbit",
    "burst_s",  # user time with data waiting
    "waiting_kbit_s",  # backlog in the gNB over time
    "blocks",
    "block_errors",
    "cqi",
    "cqi_samples",
    "available_s",  # time in service
    "dropped_kbit",
    "offered_kbit",
    "connected_s",  # user time in RRC_CONNECTED
    "transmit_mw_s",
    "estab_att",
    "estab_succ",
    "reestab_att",
    "ho_inter_req",
    "ho_inter_succ",
    "ho_inter_fail",
    "ho_intra_req",
    "ho_intra_succ",
    "too_early",
    "too_late",
    "wrong_cell",
    "ping_pong",
    "packet_used_s",  # the same of packets
    "packet_served_kbit",
    "packet_burst_s",
    "packet_waiting_kbit_s",
)
SERVED = slice(0, 8)  # what the scheduler adds in one go
PACKETS = slice(len(SUMS) - 4, len(SUMS))


class Tally:
    """Sums [C] by name, and the largest number of connected users.

    Users in no cell at all (out of coverage) are counted in the last place that camped them.
    """

    STATE = ("sums", "connected_max")

    def __init__(self, cells: int) -> None:
        self.cells = cells
        self.sums = np.zeros((len(SUMS), cells))
        self.connected_max = np.zeros(cells)
        self._cells = np.arange(cells)
        self._row = {name: i for i, name in enumerate(SUMS)}

    def __getitem__(self, name: str) -> Floats:
        row: Floats = self.sums[self._row[name]]
        return row

    def add(self, name: str, amount: Floats) -> None:
        """Add [C] amounts."""
        self.sums[self._row[name]] += amount

    def add_at(self, name: str, cell: Index, amount: Floats | None = None) -> None:
        """Add amounts (1 by default) at the given cells, which may repeat."""
        self.sums[self._row[name]] += np.bincount(cell, amount, self.cells)

    def add_rows(self, rows: slice, cell: Index, *amounts: Floats) -> Floats:
        """Add several kinds of amounts at the given cells; returns what the first kind adds, [C]."""
        here = (cell[:, None] == self._cells).astype(float)
        added: Floats = np.stack(amounts) @ here
        self.sums[rows] += added
        first: Floats = added[0]
        return first

    def add_all(self, rows: slice, *amounts: Floats) -> None:
        """Add [C] amounts of several kinds."""
        self.sums[rows] += amounts

    def clear(self) -> None:
        """Begin the next period."""
        self.sums[:] = 0
        self.connected_max[:] = 0
