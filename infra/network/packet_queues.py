"""Queues of packets in the cells: first come, first served, at the speed that the slice has.

A cell's queue is counted in seconds of the whole carrier, the only unit in which users with good and bad channels add
up. Packets come at the begin of each cycle; within a cycle the queue drains evenly. Delay is what Little's law says of
the simulated queue: its content, summed over time, for each kbit served.
"""

from typing import NamedTuple

import numpy as np

from infra.network.arrays import Floats, Index


class Queued(NamedTuple):
    """What a cell's queues did in a step of T scheduler slices."""

    used_s: Floats  # [C, T] time of the whole carrier
    served_kbit: Floats  # [F] of each user
    cell_kbit: Floats  # [C] served
    burst_s: Floats  # [C] user time with packets waiting
    waiting_kbit_s: Floats  # [C] queue's content over time


def serve(
    cell: Index, rate_kbps: Floats, backlog_kbit: Floats, sent_kbit: Floats, share: Floats, cycle_s: float
) -> Queued:
    """Serve F users' packets in C cells.

    Parameters
    ----------
    cell, rate_kbps, backlog_kbit
        [F] serving cell, kbit/s with the whole carrier (> 0), what waits from before.
    sent_kbit
        [F, T, J] what comes at the begin of each of J cycles in each of T scheduler slices.
    share
        [C] of the whole carrier, at which the queue is served.

    Examples
    --------
    A packet of 10 kbit each 10 ms, served at half of 4000 kbit/s: 5 ms to serve, 2.5 ms in the mean for each bit of it.

    >>> sent = np.full((1, 1, 100), 10.0)
    >>> got = serve(np.array([0]), np.array([4000.0]), np.zeros(1), sent, np.array([0.5]), 0.01)
    >>> got.used_s[0, 0].round(6), (got.waiting_kbit_s / got.cell_kbit).round(6), got.burst_s.round(6)
    (0.25, array([0.0025]), array([0.5]))
    """
    users, slices, cycles = sent_kbit.shape
    sent = sent_kbit.reshape(users, slices * cycles)
    here = (cell == np.arange(len(share))[:, None]).astype(float)  # [C, F]
    before_kbit_and_s = np.stack([backlog_kbit, backlog_kbit / rate_kbps], axis=1)
    kbit, queue_s = (here @ before_kbit_and_s).T
    work = (here / rate_kbps) @ sent  # [C, T J] seconds of the whole carrier
    kbit = kbit + here @ sent.sum(axis=1)
    total_s = queue_s + work.sum(axis=1)
    most = share[:, None] * cycle_s
    # The queue after each cycle is max(0, before + work - most), all cycles in one go (Lindley's recursion).
    after = np.cumsum(work - most, axis=1)
    after += queue_s[:, None]
    after -= np.minimum(np.minimum.accumulate(after, axis=1), 0.0)
    begin = np.empty_like(after)
    begin[:, 0] = queue_s
    begin[:, 1:] = after[:, :-1]
    queued = begin > 0
    begin += work
    lasts = np.minimum(begin / np.maximum(share, 1e-9)[:, None], cycle_s)
    waiting_s2 = 0.5 * ((begin + after) * lasts).sum(axis=1)
    senders = np.where(queued, here.sum(axis=1)[:, None], here @ (sent > 0))
    end_s = after[:, -1]
    per_s = kbit / np.maximum(total_s, 1e-12)
    kept = end_s / np.maximum(total_s, 1e-12)
    return Queued(
        used_s=(begin - after).reshape(len(share), slices, cycles).sum(axis=2),
        served_kbit=(backlog_kbit + sent.sum(axis=1)) * (1 - kept[cell]),
        cell_kbit=kbit * (1 - kept),
        burst_s=(senders * lasts).sum(axis=1),
        waiting_kbit_s=waiting_s2 * per_s,
    )
