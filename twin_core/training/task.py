"""What an environment is about: levers to move, reward to gain, worlds to meet."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.levers import CIO_GRID_DB, LEVERS
from twin_core.exceptions import InvalidTask
from twin_core.kpis import POWER, THROUGHPUT, UNSERVED
from twin_core.scenarios import CLASSES, HOTSPOT, NOMINAL, SURGE, Spreads

TX_POWER, TILT, BIAS, CELL_STATE = (
    "configuredMaxTxPower",
    "digitalTilt",
    "cellIndividualOffset",
    "administrativeState",
)
CONTINUOUS, DISCRETE = KINDS = ("continuous", "discrete")


@dataclass(frozen=True)
class Move:
    """One lever of each cell as an action, moved from where it stands by at most a step a period.

    Attributes
    ----------
    lever
        Attribute of TS 28.541: configuredMaxTxPower, digitalTilt, cellIndividualOffset (of a cell towards all its
        neighbours alike), administrativeState (which is switched and needs no step or bounds).
    step
        Largest change in a period: dB, degrees, places on the grid of TS 38.331 (1 dB each up to 6 dB).
    low, high
        Bounds: dB against the cell's rated power, degrees, dB.

    Raises
    ------
    InvalidTask
        If the lever cannot be moved, the step is not positive, or the bounds are beyond `schemas.levers`.
    """

    lever: str
    step: float = 1.0
    low: float = 0.0
    high: float = 0.0

    def __post_init__(self) -> None:
        """Check what needs no network."""
        if self.lever not in (TX_POWER, TILT, BIAS, CELL_STATE):
            known = ", ".join((TX_POWER, TILT, BIAS, CELL_STATE))
            raise InvalidTask(f"{self.lever!r} is no lever that an environment can move; it can move {known}")
        if self.lever == CELL_STATE:
            return
        if not (math.isfinite(self.step) and self.step > 0):
            raise InvalidTask(f"the step of {self.lever} is {self.step:g}; give a positive number")
        if not self.low < self.high:
            raise InvalidTask(f"{self.lever} has nowhere to go from {self.low:g} to {self.high:g}; give low below high")
        if self.lever == TX_POWER:
            if self.high > 0:
                raise InvalidTask(f"{self.high:g} dB above rated power is more than a carrier has; give at most 0")
            return
        if self.lever == BIAS:
            self._check_grid()
        scale = 10 if self.lever == TILT else 1
        limit = LEVERS[self.lever]
        if self.low * scale < limit.low or self.high * scale > limit.high:
            raise InvalidTask(
                f"{self.lever} from {self.low:g} to {self.high:g} is beyond {limit.low / scale:g} to "
                f"{limit.high / scale:g}, all that the attribute can say"
            )

    def _check_grid(self) -> None:
        if self.step < 1:
            raise InvalidTask(f"a step of {self.step:g} places moves no {BIAS}; give at least 1")
        if sum(self.low <= place <= self.high for place in CIO_GRID_DB) < 2:
            raise InvalidTask(
                f"{BIAS} from {self.low:g} to {self.high:g} dB has nowhere to go on the grid of TS 38.331; widen it"
            )


DEFAULT_MOVES = (
    Move(TX_POWER, 1.0, -6.0, 0.0),
    Move(TILT, 1.0, 0.0, 12.0),
    Move(BIAS, 1.0, -6.0, 6.0),
    Move(CELL_STATE),
)


@dataclass(frozen=True)
class Term:
    """One term of a reward: weight x KPI / reference.

    Attributes
    ----------
    kpi
        Any KPI that the twin predicts (`twin_core.kpis.kpis_of`), of the whole network.
    weight
        Positive for what should be high.
    reference
        In the KPI's unit; None: what the twin expects of the next period if nothing is changed.
    """

    kpi: str
    weight: float
    reference: float | None = None

    def __post_init__(self) -> None:
        """Check what needs no network.

        Raises
        ------
        InvalidTask
            If the weight is not finite, or the reference not positive.
        """
        if not math.isfinite(self.weight):
            raise InvalidTask(f"the weight of {self.kpi} is {self.weight}; give a number")
        if self.reference is not None and not (math.isfinite(self.reference) and self.reference > 0):
            raise InvalidTask(f"the reference of {self.kpi} is {self.reference:g}; give a positive number, or none")


# A hundredth of all traffic left unserved weighs as much as a tenth of the energy, and that as two fifths of the users'
# speed: in quiet hours it pays to put cells to sleep, in busy ones it does not.
DEFAULT_REWARD = (Term(THROUGHPUT, 0.25), Term(UNSERVED, -10.0, 1.0), Term(POWER, -1.0))


@dataclass(frozen=True)
class Task:
    """What agents may do, for how long, to what end, in which worlds.

    Attributes
    ----------
    moves
        Levers of each cell, in the order of the actions.
    actions
        "continuous": one number in [-1, 1] a lever, in steps; the cell state is switched on above 0.5, off below -0.5
        and left alone between. "discrete": one choice of three: 0 down or off, 1 leave alone, 2 up or on.
    periods
        Steps of an episode, one granularity period each. One period more is lived through before the first step, under
        the twin's own configuration, to have something to observe.
    reward
        Terms; a KPI without a value, as the throughput of nobody, counts as 0.
    classes
        Of `twin_core.scenarios`, of which each episode draws one with equal odds.
    demand
        Range of a factor on demand that each episode draws: from quiet to busy hours.
    spreads
        How wide scenarios are drawn.

    Raises
    ------
    InvalidTask
        Naming the first thing that does not fit.

    Examples
    --------
    >>> Task(moves=(Move(CELL_STATE),), actions="discrete", periods=12).periods
    12
    """

    moves: tuple[Move, ...] = DEFAULT_MOVES
    actions: str = CONTINUOUS
    periods: int = 24
    reward: tuple[Term, ...] = DEFAULT_REWARD
    classes: tuple[str, ...] = (NOMINAL, SURGE, HOTSPOT)
    demand: tuple[float, float] = (0.5, 1.5)
    spreads: Spreads = field(default_factory=Spreads)

    def __post_init__(self) -> None:
        """Check what needs no network."""
        levers = [move.lever for move in self.moves]
        if not levers or len(set(levers)) != len(levers):
            raise InvalidTask(f"the levers are {', '.join(levers) or 'none'}; give each that is to be moved once")
        if self.actions not in KINDS:
            raise InvalidTask(f"actions are {' or '.join(KINDS)}, not {self.actions!r}")
        if self.periods < 1:
            raise InvalidTask(f"an episode of {self.periods} periods has no step; give at least 1")
        if not self.reward:
            raise InvalidTask("a reward without terms teaches nothing; give at least one")
        if not self.classes or (unknown := set(self.classes) - set(CLASSES)):
            named = repr(sorted(unknown)[0]) if self.classes else "none"
            raise InvalidTask(f"scenario classes: {named} given; known: {', '.join(CLASSES)}")
        low, high = self.demand
        if not (0 <= low <= high and math.isfinite(high)):
            raise InvalidTask(f"demand from {low:g} to {high:g} times what is expected; give 0 <= low <= high")

    def options(self, given: Mapping[str, object] | None) -> tuple[str | None, float | None]:
        """Scenario class and demand that options of a reset ask for, instead of drawn ones; others are not looked at.

        Raises
        ------
        InvalidTask
            If one is impossible.
        """
        wanted = given or {}
        scenario, demand = wanted.get("scenario"), wanted.get("demand")
        if scenario is not None and scenario not in CLASSES:
            raise InvalidTask(f"option scenario is {scenario!r}; known: {', '.join(CLASSES)}")
        if demand is not None and not (isinstance(demand, int | float) and 0 <= demand < math.inf):
            raise InvalidTask(f"option demand is {demand!r}; give a factor of at least 0")
        return None if scenario is None else str(scenario), None if demand is None else float(demand)
