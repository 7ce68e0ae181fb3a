"""How eagerly models are learned, and how strictly they are judged. Durations are granularity periods."""

from pydantic import BaseModel, ConfigDict, Field


class LearnSettings(BaseModel):
    """Settings of learning."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=1, ge=0, description="Seed of the residual network's weights and mini-batches")
    warm_up: int = Field(default=10, ge=2, description="Periods learned from before the first challenger")
    rest: int = Field(default=8, ge=0, description="Periods between a decision about a model and its next challenger")
    block: int = Field(
        default=4,
        ge=1,
        description="Periods whose losses make one sample; forecasts that reach further take as many as they reach",
    )
    looks: tuple[int, ...] = Field(
        default=(3, 6, 12, 24),
        min_length=1,
        description="Blocks after which a challenger is judged; at the last, for good",
    )
    alpha: float = Field(
        default=0.05, gt=0, lt=0.5, description="Chance that a challenger no better than the champion is promoted"
    )
    min_gain: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the champion's loss that a challenger must save to be promoted"
    )
    watch_blocks: int = Field(
        default=6, ge=3, description="Newest blocks over which a champion is held against the one before it"
    )
    watch_alpha: float = Field(default=0.01, gt=0, lt=0.5, description="Chance of a needless roll-back, each block")
    drift_threshold: float = Field(
        default=16.0, gt=0, description="Page-Hinkley threshold, in standard deviations of a cell's forecast error"
    )
    drift_slack: float = Field(default=1.5, ge=0, description="What a cell may be off without drifting, same unit")
