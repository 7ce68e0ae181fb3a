"""torch learns what the physics misses: the log of observed over predicted of each KPI and cell.

A small network (`twin_core.learned.residual_model`) is trained a few steps each period on mini-batches of the latest
periods, and on outcomes: by how much more, or less, than predicted a pushed change moved a cell. Huber's loss, because
a burst of a minute is nobody's fault; weight decay, so that where nothing is to be learned nothing is said. What it
says of each KPI is scaled down to what its words were worth on periods that it had not seen by then: the regression of
what came on what was said. Mini-batches are drawn from the seed and the number of the period, so that a restarted
learner goes on to the last bit.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import huber_loss

from loops.learning.arrays import Arrays
from twin_core.learned.residual_model import CORRECTED, INPUTS, LARGEST, ResidualModel

Tensor = torch.Tensor

_HIDDEN = 12
_KEPT_PERIODS, _KEPT_PAIRS = 240, 64
_STEPS, _BATCH = 12, 512
_RATE, _DECAY = 1e-3, 0.1
# Memory of what words were worth, and the weight of the doubt: the square of a correction of everything by 5 %.
_WORTH_KEPT, _DOUBT = 0.98, 0.5
_DELTA = 0.15  # of Huber's loss: beyond this a miss is a burst
_STANDARDISED_AFTER = 5  # periods from which the scale of the inputs is taken
_PAIR_WEIGHT = 0.5
_LEAST_SPREAD = 0.02
_WEIGHTS = ("hidden_weight", "hidden_constant", "out_weight", "direct_weight", "constant")


class Pair(NamedTuple):
    """What an outcome says of one cell: inputs before and after a change ([F]), and the log of observed over predicted
    change of each KPI ([K], NaN unknown)."""

    before: Tensor
    after: Tensor
    missed: Tensor


class ResidualLearner:
    """Learns a `ResidualModel` for a network of so many cells.

    Parameters
    ----------
    cells
        C.
    seed
        Of initial weights and mini-batches.
    """

    def __init__(self, cells: int, seed: int) -> None:
        self.cells, self._seed = cells, seed
        self.periods = 0
        f, k = len(INPUTS), len(CORRECTED)
        random = torch.Generator().manual_seed(seed)
        self._weights = {
            "hidden_weight": torch.randn(f, _HIDDEN, generator=random) / f**0.5,
            "hidden_constant": torch.zeros(_HIDDEN),
            # Zero: an untrained network says nothing.
            "out_weight": torch.zeros(_HIDDEN, k),
            "direct_weight": torch.zeros(f, k),
            "constant": torch.zeros(k),
        }
        self._first = {name: torch.zeros_like(w) for name, w in self._weights.items()}
        self._second = {name: torch.zeros_like(w) for name, w in self._weights.items()}
        self._steps = 0
        self._mean, self._scale = torch.zeros(f), torch.ones(f)
        self._low, self._high = torch.full((f,), torch.inf), torch.full((f,), -torch.inf)
        self._inputs = torch.zeros(0, cells, f)
        self._missed = torch.zeros(0, cells, k)
        self._pairs: list[Pair] = []
        self._agreed, self._said = torch.zeros(k), torch.zeros(k)

    def learn(self, inputs: Tensor, missed: Tensor, pairs: tuple[Pair, ...] = ()) -> None:
        """One period.

        Parameters
        ----------
        inputs
            [C, F] as they were when the period was predicted.
        missed
            [C, K] log of observed over predicted, NaN where nothing can be learned.
        pairs
            What outcomes of this period say.
        """
        self.periods += 1
        known = ~missed.isnan().all(dim=1)
        self._weigh(inputs.float(), missed.float())
        self._inputs = torch.cat([self._inputs, inputs.float()[None]])[-_KEPT_PERIODS:]
        self._missed = torch.cat([self._missed, missed.float()[None]])[-_KEPT_PERIODS:]
        self._pairs = [*self._pairs, *pairs][-_KEPT_PAIRS:]
        if bool(known.any()):
            self._low = torch.minimum(self._low, inputs[known].float().amin(dim=0))
            self._high = torch.maximum(self._high, inputs[known].float().amax(dim=0))
        if self.periods == _STANDARDISED_AFTER:
            seen = self._inputs.flatten(0, 1)
            self._mean, self._scale = seen.mean(dim=0), seen.std(dim=0).clamp_min(_LEAST_SPREAD)
        if self.periods >= _STANDARDISED_AFTER:
            self._train()

    def _weigh(self, inputs: Tensor, missed: Tensor) -> None:
        """Hold what would have been said of this period against what came."""
        said, came = self._raw(inputs, self._weights), missed.clamp(-LARGEST, LARGEST)
        said = torch.where(came.isnan(), 0.0, said)
        self._agreed = _WORTH_KEPT * self._agreed + (said * came.nan_to_num()).sum(dim=0)
        self._said = _WORTH_KEPT * self._said + (said**2).sum(dim=0)

    def _train(self) -> None:
        random = torch.Generator().manual_seed(self._seed * 1_000_003 + self.periods)
        x, y = self._inputs.flatten(0, 1), self._missed.flatten(0, 1)
        for _ in range(_STEPS):
            chosen = torch.randint(len(x), (_BATCH,), generator=random)
            leaves = {name: w.clone().requires_grad_() for name, w in self._weights.items()}
            loss = _loss(self._raw(x[chosen], leaves), y[chosen])
            if self._pairs:
                before, after, missed = (torch.stack(part) for part in zip(*self._pairs, strict=True))
                loss = loss + _PAIR_WEIGHT * _loss(self._raw(after, leaves) - self._raw(before, leaves), missed)
            gradients = torch.autograd.grad(loss, list(leaves.values()))
            self._step(dict(zip(leaves, gradients, strict=True)))

    def _raw(self, inputs: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """[N, K] what the model says inside its range."""
        x = (inputs - self._mean) / self._scale
        hidden = torch.tanh(x @ weights["hidden_weight"] + weights["hidden_constant"])
        raw = hidden @ weights["out_weight"] + x @ weights["direct_weight"] + weights["constant"]
        return LARGEST * torch.tanh(raw / LARGEST)

    def _step(self, gradients: Mapping[str, Tensor]) -> None:
        """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""
        self._steps += 1
        for name, gradient in gradients.items():
            self._first[name] = 0.9 * self._first[name] + 0.1 * gradient
            self._second[name] = 0.999 * self._second[name] + 0.001 * gradient**2
            mean = self._first[name] / (1 - 0.9**self._steps)
            spread = (self._second[name] / (1 - 0.999**self._steps)).sqrt()
            self._weights[name] = self._weights[name] * (1 - _RATE * _DECAY) - _RATE * mean / (spread + 1e-8)

    @property
    def ready(self) -> bool:
        """Whether it has been trained."""
        return self._steps > 0 and bool(torch.isfinite(self._low).all())

    def model(self, version: str) -> ResidualModel:
        """What is known now, as parameters for the twin."""
        worth = (self._agreed / (self._said + _DOUBT)).clamp(0, 1)
        scaled = {name: self._weights[name] * worth for name in ("out_weight", "direct_weight", "constant")}
        return ResidualModel.of(
            version,
            {
                **self._weights,
                **scaled,
                "mean": self._mean,
                "scale": self._scale,
                "low": self._low,
                "high": self._high,
            },
        )

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Everything that `restore` needs."""
        tensors = {
            "mean": self._mean, "scale": self._scale, "low": self._low, "high": self._high,
            "inputs": self._inputs, "missed": self._missed, "agreed": self._agreed, "said": self._said,
        }  # fmt: skip
        for name in _WEIGHTS:
            tensors |= {
                f"weight/{name}": self._weights[name],
                f"first/{name}": self._first[name],
                f"second/{name}": self._second[name],
            }
        if self._pairs:
            tensors |= {f"pair/{n}": torch.stack([getattr(p, n) for p in self._pairs]) for n in Pair._fields}
        return {"periods": self.periods, "steps": self._steps}, {n: t.numpy() for n, t in tensors.items()}

    def restore(self, plain: Mapping[str, Any], arrays: Arrays) -> None:
        """Go on where `state` was called."""
        t = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
        self.periods, self._steps = int(plain["periods"]), int(plain["steps"])
        self._mean, self._scale, self._low, self._high = t["mean"], t["scale"], t["low"], t["high"]
        self._inputs, self._missed = t["inputs"], t["missed"]
        self._agreed, self._said = t["agreed"], t["said"]
        for name in _WEIGHTS:
            self._weights[name] = t[f"weight/{name}"]
            self._first[name], self._second[name] = t[f"first/{name}"], t[f"second/{name}"]
        count = len(t["pair/before"]) if "pair/before" in t else 0
        self._pairs = [Pair(*(t[f"pair/{n}"][i] for n in Pair._fields)) for i in range(count)]


def _loss(said: Tensor, came: Tensor) -> Tensor:
    """Mean of Huber's loss over what is known."""
    known = ~came.isnan()
    return huber_loss(said[known], came[known], delta=_DELTA) if bool(known.any()) else said.sum() * 0.0
