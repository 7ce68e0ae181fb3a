"""What a stream operator is: a pure function of (state, batch).

An operator holds what never changes while it runs (topology, settings); everything that changes is in its state, a
value. Hosts (in this process, Faust, Flink) keep the state, feed batches, route the outputs, and decide when to save.
``tests/contracts/test_processors.py`` is the suite that every operator must pass.
"""

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from schemas.dead_letters import DeadLetter

S = TypeVar("S")
B_contra = TypeVar("B_contra", contravariant=True)
O_co = TypeVar("O_co", covariant=True)
L_co = TypeVar("L_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Step(Generic[S, O_co, L_co]):
    """What one batch led to: the next state, and the output streams: results, what came too late, dead letters."""

    state: S
    outputs: tuple[O_co, ...] = ()
    late: tuple[L_co, ...] = ()
    dead_letters: tuple[DeadLetter, ...] = ()


class Operator(Protocol[S, B_contra, O_co, L_co]):
    """A pure stream operator.

    Same state and batch give the same step; the given state is left as it was; an empty batch changes nothing; how a
    sequence is cut into batches changes neither the outputs nor the final state.
    """

    @property
    def name(self) -> str:
        """Under which its state is stored and its refusals are reported."""
        ...

    def initial(self) -> S:
        """The state before any input."""
        ...

    def process(self, state: S, batch: B_contra) -> Step[S, O_co, L_co]:
        """Process one batch."""
        ...

    def dump(self, state: S) -> bytes:
        """The state as bytes (JSON or safetensors, never pickle); equal states give equal bytes."""
        ...

    def load(self, data: bytes) -> S:
        """The state from its bytes.

        Raises
        ------
        WrongState
            If they were written by another operator, for another topology or in another version.
        """
        ...
