"""River's Bayesian linear regression, with its state as arrays.

River keeps the precision matrix and the natural mean in plain arrays; they are all of its state. What is written here
is read here: a test holds that a restored regression goes on to the last bit.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import linear_model

from loops.learning.arrays import Arrays

Array = NDArray[np.float64]


class Regression:
    """A linear regression on named inputs, learned example by example.

    Parameters
    ----------
    inputs
        Names, in the order in which values are given.
    prior
        Weight of the prior (all zero), in examples of size one.
    """

    def __init__(self, inputs: Sequence[str], prior: float) -> None:
        self._inputs, self._prior = tuple(inputs), prior
        self._begin()

    def _begin(self) -> None:
        # alpha stays 1: with another one River 0.26 begins with a covariance that is not the inverse of its precision.
        self._model: Any = linear_model.BayesianLinearRegression(alpha=1.0, beta=1 / self._prior)
        # The order of River's own arrays is that in which it first sees a name.
        self._model._ensure_features(self._inputs)
        self.examples = 0

    def learn(self, x: Array, y: float) -> None:
        """One example: [F] inputs and what came of them."""
        self._model.learn_one(dict(zip(self._inputs, x.tolist(), strict=True)), y)
        self.examples += 1

    @property
    def weights(self) -> Array:
        """[F] posterior mean."""
        self._model._m_dirty = True
        self._model._ensure_m()
        return np.array(self._model._m_arr[: len(self._inputs)])

    def arrays(self) -> Arrays:
        """All of its state."""
        model, n = self._model, len(self._inputs)
        return {
            "precision": np.array(model._ss_arr[:n, :n]),
            "covariance": np.array(model._ss_inv_arr[:n, :n]),
            "moment": np.array(model._eta_arr[:n]),
            "examples": np.array([self.examples]),
        }

    def restore(self, arrays: Arrays) -> None:
        """Go on where `arrays` was called."""
        self._begin()
        n = len(self._inputs)
        self._model._ss_arr[:n, :n] = arrays["precision"]
        self._model._ss_inv_arr[:n, :n] = arrays["covariance"]
        self._model._eta_arr[:n] = arrays["moment"]
        self.examples = int(arrays["examples"][0])
