"""One model's way: who is in force, who challenges, who is watched, and what is decided about them."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from loops.learning.arrays import Arrays
from loops.learning.contest import Losses, Ruling, judge, worse
from loops.learning.settings import LearnSettings
from twin_core.learned.models import Model, dump

Action = Literal["challenger", "promoted", "refused", "rolled_back"]
NONE = ""  # version of «no learned model»
_PATIENCE = 30  # periods in which the twin must have taken a decision up


@dataclass(frozen=True)
class Decision:
    """What is decided about a model, at the end of a period.

    Attributes
    ----------
    action, model, version
        Of a roll-back: the version that leaves.
    parent
        Version that was in force; of a roll-back the one that comes back. Empty: none.
    parameters
        Of the version, of a roll-back of the parent; empty for none.
    champion_score, challenger_score
        One minus the mean loss over the periods that both were judged on; NaN before any.
    periods
        How many those were.
    reason
        In words.
    """

    action: Action
    model: str
    version: str
    parent: str
    parameters: bytes
    champion_score: float
    challenger_score: float
    periods: int
    reason: str


@dataclass
class Rival:
    """A version beside the one in force, held against it period by period (losses: champion first).

    A challenger goes on learning; its parameters are fixed when it is promoted, and empty until then.
    """

    version: str
    parameters: bytes = b""
    losses: Losses = field(default_factory=Losses)


@dataclass
class Track:
    """The way of one model.

    Attributes
    ----------
    model
        Name.
    block
        Periods whose losses make one sample.
    champion, parameters
        Version in force, NONE if there is none, and its parameters.
    challenger
        What shall replace it.
    former
        What it replaced, which may come back.
    awaited
        Version that has been decided to be in force, while the twin has not taken it up yet.
    rested
        Periods since the last decision.
    """

    model: str
    block: int
    champion: str = NONE
    parameters: bytes = b""
    challenger: Rival | None = None
    former: Rival | None = None
    awaited: str | None = None
    rested: int = 10**6

    def in_force(self, version: str, parameters: bytes) -> None:
        """Say what the twin predicts with now; whatever was judged against another champion is void."""
        if version == self.champion:
            return
        # Not everything that comes is decided here: a person may have chosen it. What it replaced may come back.
        came_back = self.former is not None and self.former.version == version
        self.former = None if came_back else Rival(self.champion, self.parameters)
        self.challenger, self.awaited = None, None
        self.champion, self.parameters = version, parameters

    def challenge(self, version: str) -> Decision:
        """Begin a contest."""
        self.challenger = Rival(version)
        reason = f"what is being learned is judged against {self.champion or 'no model'} from now on"
        return self._decision("challenger", version, self.champion, b"", Losses(), reason)

    def rule(self, settings: LearnSettings, learned: Callable[[str], Model]) -> Decision | None:
        """What follows from the losses so far.

        Parameters
        ----------
        learned
            Gives what has been learned by now, as a version.
        """
        self.rested += 1
        if self.awaited is not None:
            if self.rested > _PATIENCE:
                self.awaited = None  # the twin never took it up; what is in force is judged on
            return None
        return self._rolled_back(settings) or self._judged(settings, learned)

    def _judged(self, settings: LearnSettings, learned: Callable[[str], Model]) -> Decision | None:
        if self.challenger is None:
            return None
        rival, losses = self.challenger, self.challenger.losses
        ruling = judge(losses, self.block, settings.looks, settings.alpha, settings.min_gain)
        if ruling is Ruling.OPEN:
            return None
        self.challenger, self.rested = None, 0
        before, after = losses.means()
        saved = 1 - after / before if before > 0 else 0.0
        told = f"saves {saved:.1%} of the loss of {self.champion or 'no model'} over {len(losses)} periods"
        if ruling is Ruling.NOT_BETTER:
            reason = f"{told}; not surely more than {settings.min_gain:.1%}"
            return self._decision("refused", rival.version, self.champion, b"", losses, reason)
        decision = self._decision("promoted", rival.version, self.champion, dump(learned(rival.version)), losses, told)
        self.awaited = rival.version
        return decision

    def _rolled_back(self, settings: LearnSettings) -> Decision | None:
        if self.former is None or self.champion == NONE:
            return None
        rival, losses = self.former, self.former.losses
        if not worse(losses, self.block, settings.watch_blocks, settings.watch_alpha):
            return None
        self.challenger, self.rested = None, 0
        reason = f"lately worse than {rival.version or 'no model'}, which comes back"
        self.awaited = rival.version
        return self._decision("rolled_back", self.champion, rival.version, rival.parameters, losses, reason)

    def _decision(
        self, action: Action, version: str, parent: str, parameters: bytes, losses: Losses, reason: str
    ) -> Decision:
        first, second = losses.means()
        return Decision(action, self.model, version, parent, parameters, 1 - first, 1 - second, len(losses), reason)

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Everything that `restore` needs."""
        plain: dict[str, Any] = {
            "champion": self.champion,
            "awaited": self.awaited,
            "rested": self.rested,
        }
        arrays = {"champion": _bytes(self.parameters)}
        for name in ("challenger", "former"):
            rival: Rival | None = getattr(self, name)
            if rival is not None:
                plain[name] = {"version": rival.version, **asdict(rival.losses)}
                arrays[name] = _bytes(rival.parameters)
        return plain, arrays

    def restore(self, plain: Mapping[str, Any], arrays: Arrays) -> None:
        """Go on where `state` was called."""
        self.champion, self.awaited, self.rested = plain["champion"], plain["awaited"], plain["rested"]
        self.parameters = arrays["champion"].tobytes()
        for name in ("challenger", "former"):
            if kept := plain.get(name):
                losses = Losses(list(kept["first"]), list(kept["second"]))
                setattr(self, name, Rival(kept["version"], arrays[name].tobytes(), losses))


def _bytes(data: bytes) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    return np.frombuffer(data, dtype=np.uint8)
