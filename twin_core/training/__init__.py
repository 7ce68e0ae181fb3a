"""Environments in which agents of any library can learn on a twin: Gymnasium and PettingZoo.

Importing this package registers `twinloop/Network-v0` with Gymnasium. It needs the extra `training`; nothing else in
the engine does.
"""

from twin_core.exceptions import MissingLibrary

try:
    import gymnasium
    import pettingzoo  # noqa: F401 - said here, once, if it is missing
except ModuleNotFoundError as error:
    raise MissingLibrary(
        f"environments for training need {error.name}, which is not installed; pip install 'twinloop[training]'"
    ) from error

from twin_core.training.batched import BatchedNetworkEnv
from twin_core.training.cells import CellsEnv
from twin_core.training.senses import FEATURES
from twin_core.training.single import NetworkEnv
from twin_core.training.task import Move, Task, Term

__all__ = ["FEATURES", "BatchedNetworkEnv", "CellsEnv", "Move", "NetworkEnv", "Task", "Term"]

gymnasium.register(
    id="twinloop/Network-v0",
    entry_point="twin_core.training.single:NetworkEnv",
    vector_entry_point="twin_core.training.batched:BatchedNetworkEnv",
)
