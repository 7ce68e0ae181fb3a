"""How patient, how careful and how stubborn the outer loop is. Durations are granularity periods."""

from collections.abc import Iterable
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from loops.outer.approval import ApprovalSettings
from schemas.strategies import Direction, Guard

Scope = Literal["area", "treated", "cell"]


class Watch(BaseModel):
    """One KPI that must not get worse while a stage is held.

    It is harmed if it changed for the worse by more than the tolerance *and*, where ``absolute`` is given, ended up
    beyond that level.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kpi: str = Field(description="3GPP name")
    scope: Scope = Field(description="area: changed cells and their ring together; treated: changed cells; cell: each")
    worse: Direction = Field(description="UP: more is worse; DOWN: less is worse")
    relative: float = Field(default=0.0, ge=0, description="Tolerated relative change for the worse")
    floor: float = Field(default=0.0, ge=0, description="Rare counts: tolerated rise per cell and period at least")
    absolute: float | None = Field(default=None, description="Only beyond this level is it harm, in the KPI's unit")
    counts: bool = Field(default=False, description="A rare count: compared by difference, not by ratio")

    @property
    def label(self) -> str:
        """The watch in a few words."""
        return f"{self.kpi} of each cell" if self.scope == "cell" else f"{self.kpi} of the {self.scope}"


UP, DOWN = Direction.UP, Direction.DOWN
# The area's users lose at most 20 % throughput and 12 % volume beyond what the verdict foresaw: a handful of cells with
# a dozen users each varies by 14 % and 8 % from one window to the next with nobody touching it. Re-establishments and
# failed handovers are rare: two more a cell and period are noticed, fewer are the noise of a few users.
DEFAULT_WATCHES = (
    Watch(kpi="DRB.UEThpDl", scope="area", worse=DOWN, relative=0.20),
    Watch(kpi="DRB.PdcpSduVolumeDL", scope="area", worse=DOWN, relative=0.12),
    Watch(kpi="RRU.PrbTotDl", scope="area", worse=UP, relative=0.10, absolute=85),
    Watch(kpi="RRC.ReEstabAtt", scope="area", worse=UP, relative=0.5, floor=2.0, counts=True),
    Watch(kpi="MM.HoExeInterFail", scope="area", worse=UP, relative=0.5, floor=2.0, counts=True),
    Watch(kpi="PEE.AvgPower", scope="area", worse=UP, relative=0.10),
)


class OuterSettings(BaseModel):
    """Settings of the outer loop."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    before_periods: int = Field(default=10, ge=3, description="Window before the first push: the baseline")
    fewest_before: int = Field(default=5, ge=3, description="Fewer periods of data before the push, and it waits")
    settle_periods: int = Field(default=1, ge=0, description="Periods after a push that are not judged")
    hold_periods: int = Field(default=5, ge=1, description="Judged periods before a stage can be promoted")
    longest_hold: int = Field(default=10, ge=1, description="Judged periods before an unclear stage is rolled back")
    first_look: int = Field(default=2, ge=1, description="Judged periods before harm is looked for")
    blind_limit: int = Field(default=5, ge=1, description="Periods of a hold without usable data or with a closed gate")
    wait_limit: int = Field(default=10, ge=1, description="Periods a begun plan waits for leave to push on")
    attempts: int = Field(default=3, ge=1, description="How often an apply command is sent")
    rollback_attempts: int = Field(default=8, ge=1, description="How often a rollback command is sent")
    load_margin: float = Field(
        default=3.0,
        ge=0,
        description="Scatter of the network's measured PRB use, points, allowed at a verdict's bounds",
    )
    report_grace: int = Field(default=2, ge=1, description="Periods until a configuration report must show a change")
    alpha: float = Field(default=0.05, gt=0, lt=1, description="Chance that a harmless stage is called harmful")
    assurance: float = Field(default=0.80, gt=0.5, lt=1, description="Confidence that harm is not twice the tolerance")
    coverage: float = Field(default=0.6, gt=0, le=1, description="Share of the area's cells that a period must report")
    fewest_controls: int = Field(default=3, ge=1, description="With fewer control cells, before and after alone count")
    watches: tuple[Watch, ...] = DEFAULT_WATCHES
    approval: ApprovalSettings = Field(default_factory=ApprovalSettings, description="What needs no person's approval")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.longest_hold < self.hold_periods or self.before_periods < self.fewest_before:
            raise ValueError("longest_hold must reach hold_periods, and before_periods fewest_before")
        return self


def watches_from(guards: Iterable[Guard]) -> tuple[Watch, ...]:
    """The guards of a verdict as watches: what may not happen in the twin may not happen in the network.

    Examples
    --------
    >>> watches_from([Guard(kpi="DRB.UEThpDl", direction=UP, absolute=5000, relative=0.3)])[0].label
    'DRB.UEThpDl of each cell'
    """
    return tuple(
        Watch(
            kpi=g.kpi,
            scope="cell" if g.scope == "cell" else "area",
            worse=DOWN if g.direction is UP else UP,
            relative=g.relative or 0.0,
            absolute=g.absolute,
        )
        for g in guards
    )
