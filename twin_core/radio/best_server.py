"""SINR of users at their best servers, from linear gains alone: the step that every system-level simulator repeats."""

import torch

from twin_core.exceptions import InvalidScenarios

Tensor = torch.Tensor

# Of received powers that stand in memory while servers are looked for: what a second-level cache holds.
_AT_ONCE = 1 << 20


def best_server_sinr(
    gain: Tensor, power_mw: Tensor, load: Tensor, noise_mw: Tensor, serving: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attach each user to the cell that it hears best, and set that cell against all others.

    Parameters
    ----------
    gain
        [P, C] linear path gain with antennas, one row a user; zero where a cell is not to be heard.
    power_mw
        [C] or [N, C] transmit power, one row a scenario.
    load
        [C] or [N, C] share of its power with which a cell disturbs others. Whom it serves hear it whole.
    noise_mw
        [P] or [1], above zero.
    serving
        [P] or [N, P] cells that are kept, e.g. inside the iteration of a load; the strongest where not given.

    Returns
    -------
    serving
        [P] or, with any argument of N scenarios, [N, P].
    sinr
        Linear, in the same shape; 0 for users that hear nothing.

    Raises
    ------
    InvalidScenarios
        If shapes do not fit one another.

    Notes
    -----
    Interference is one matrix product over all scenarios, so that nothing of size [N, P, C] is made where servers are
    given. Where they are the same in all scenarios the serving cell is left out of the product; where they differ its
    share is taken out of the sum afterwards, as it is where one scenario's servers are sought, which in float32 costs a
    relative error of about SINR / 10^7.

    Examples
    --------
    >>> gain = torch.tensor([[8.0, 2.0], [1.0, 3.0]], dtype=torch.float64)
    >>> one = torch.ones(2, dtype=torch.float64)
    >>> serving, sinr = best_server_sinr(gain, one, one, one[:1])
    >>> serving.tolist(), [round(x, 3) for x in sinr.tolist()]
    ([0, 1], [2.667, 1.5])
    """
    _check(gain, power_mw, load, noise_mw, serving)
    if serving is None and power_mw.dim() == load.dim() == 1:
        return _sought(gain * power_mw, load, noise_mw)
    if serving is None:
        serving = _strongest(gain, power_mw)
    if serving.dim() == 1:
        sinr = _of_same_servers(gain, power_mw, load, noise_mw, serving)
    else:
        sinr = _of_own_servers(gain, power_mw, load, noise_mw, serving)
    return serving.expand(sinr.shape), sinr


def _sought(received_mw: Tensor, load: Tensor, noise_mw: Tensor) -> tuple[Tensor, Tensor]:
    """[P] each: one pass finds the server and what it is heard with, one product all that disturbs."""
    own, serving = received_mw.max(dim=1)
    disturbing = torch.mv(received_mw, load).sub_(own * load[serving]).clamp_min_(0.0)
    return serving, own / disturbing.add_(noise_mw)


def _strongest(gain: Tensor, power_mw: Tensor) -> Tensor:
    """[P] or [N, P] whom each user hears best."""
    if power_mw.dim() == 1:
        return (gain * power_mw).argmax(dim=1)
    parts = max(1, min(len(power_mw), gain.numel() * len(power_mw) // _AT_ONCE))
    return torch.cat([(gain * rows[:, None]).argmax(dim=2) for rows in power_mw.tensor_split(parts)])


def _of_same_servers(gain: Tensor, power_mw: Tensor, load: Tensor, noise_mw: Tensor, serving: Tensor) -> Tensor:
    others = gain.scatter(1, serving[:, None], 0.0)
    own = gain.gather(1, serving[:, None])
    if power_mw.dim() == load.dim() == 1:
        return own[:, 0] * power_mw[serving] / (others @ (power_mw * load) + noise_mw)
    # Scenarios last: what a user's row of gains meets lies together in memory.
    disturbing = (others @ (power_mw * load).T).add_(noise_mw[:, None])
    heard = own * (power_mw[serving][:, None] if power_mw.dim() == 1 else power_mw.T.contiguous()[serving])
    return (heard / disturbing).T


def _of_own_servers(gain: Tensor, power_mw: Tensor, load: Tensor, noise_mw: Tensor, serving: Tensor) -> Tensor:
    def of_server(per_cell: Tensor) -> Tensor:
        return per_cell[serving] if per_cell.dim() == 1 else per_cell.gather(1, serving)

    users = torch.arange(len(gain), device=gain.device)
    own = gain[users, serving] * of_server(power_mw)
    disturbing = (power_mw * load).reshape(-1, gain.shape[1]) @ gain.T
    # Rounding must not make interference negative where it is all but nothing.
    return own / ((disturbing - own * of_server(load)).clamp_min_(0.0) + noise_mw)


def _check(gain: Tensor, power_mw: Tensor, load: Tensor, noise_mw: Tensor, serving: Tensor | None) -> None:
    def of_scenarios(given: Tensor, width: int) -> bool:
        return given.dim() in (1, 2) and given.shape[-1] == width

    p, c = gain.shape if gain.dim() == 2 else (-1, -1)
    fits = of_scenarios(power_mw, c) and of_scenarios(load, c) and noise_mw.shape in ((p,), (1,))
    fits = fits and (serving is None or of_scenarios(serving, p))
    rows = {len(t) for t in (power_mw, load, serving) if t is not None and t.dim() == 2}
    if not fits or len(rows) > 1:
        shapes = [tuple(t.shape) for t in (gain, power_mw, load, noise_mw, serving) if t is not None]
        raise InvalidScenarios(
            f"gain, power, load, noise and servers have the shapes {', '.join(map(str, shapes))}; give [P, C], [C] or "
            "[N, C] twice, [P] or [1], and [P] or [N, P]"
        )
