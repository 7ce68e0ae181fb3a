"""The network's parameters: a versioned TOML file, typed, with a hash of its content."""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from infra.network.exceptions import BadParameters

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Percent = Annotated[float, Field(ge=0, le=100)]
Range = tuple[float, float]
STEPS_S = (0.1, 0.2, 0.5, 1.0)  # divide a second, at which slow things are decided


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Layout(_Section):
    """Where sites stand and what their cells are."""

    sites: Literal[7, 19]
    isd_m: Positive
    azimuths_deg: tuple[float, float, float]
    height_m: Positive
    height_spread_m: float
    mechanical_tilt_deg: float
    carrier_ghz: Positive
    prbs: int
    scs_khz: int
    max_tx_power_mw: Positive
    relation_range_isd: Positive
    users: int = Field(ge=1, le=100_000)
    regions: int = Field(ge=1, le=7)


class Defaults(_Section):
    """Configuration at start."""

    tx_power_mw: Positive
    digital_tilt_tenths: float
    cio_db: float


class Time(_Section):
    """Steps and periods, seconds."""

    step_s: float
    scheduler_step_s: Positive
    period_s: int = Field(gt=0, le=3600)
    warmup_s: float = Field(ge=0)

    @field_validator("step_s")
    @classmethod
    def _divides_a_second(cls, value: float) -> float:
        if value not in STEPS_S:
            raise ValueError(f"step_s takes {', '.join(map(str, STEPS_S))}")
        return value


class Propagation(_Section):
    """The network's own propagation law; losses in dB, lengths in metres."""

    intercept_db: float
    slope_near: Positive
    slope_far: Positive
    corner_m: Positive
    min_distance_m: Positive
    pixel_m: Positive
    margin_m: Positive
    noise_figure_db: float
    shadow_sigma_db: float
    shadow_decorrelation_m: Positive
    shadow_site_correlation: Share
    indoor_share: Share
    indoor_loss_db: float
    indoor_loss_spread_db: float


class Antenna(_Section):
    """Beam widths between the points 3 dB below the peak, degrees."""

    gain_dbi: float
    horizontal_beam_deg: Positive
    vertical_beam_deg: Positive
    horizontal_floor_db: Positive
    vertical_floor_db: Positive


class Mobility(_Section):
    """How people move."""

    pedestrian_share: Share
    pedestrian_speed_mps: Range
    vehicle_speed_mps: Range
    pedestrian_roam_m: Positive
    vehicle_roam_m: Positive
    pedestrian_rest_s: Positive
    vehicle_rest_s: Positive
    street_m: Positive
    hotspots: int = Field(ge=1)
    hotspot_share: Share
    hotspot_radius_m: Positive
    work_hours: Range
    work_share: Share


class Traffic(_Section):
    """What they ask for."""

    request_interval_s: Positive
    file_mean_kbit: Positive
    file_sigma_ln: Positive
    user_weight_sigma_ln: float
    hour_shape: tuple[float, ...] = Field(min_length=24, max_length=24)
    abandon_s: Positive
    backlog_limit_kbit: Positive


class Packets(_Section):
    """Traffic of the low-latency slice."""

    user_share: Share
    session_s: Positive
    session_share: Share
    cycle_ms: int = Field(gt=0)
    packets_per_cycle: float = Field(gt=0, le=8)
    packet_kbit: Positive
    discard_s: Positive
    hour_shape: tuple[float, ...] = Field(min_length=24, max_length=24)


class Ratios(_Section):
    """A slice's RRMPolicyRatio in every cell at start, percent."""

    dedicated_ratio: Percent
    min_ratio: Percent
    max_ratio: Percent


class Slices(_Section):
    """Whether there are slices, what the second carries, how they share cells at start."""

    enabled: bool
    packets: Packets
    embb: Ratios
    urllc: Ratios

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for ratios in (self.embb, self.urllc):
            if not ratios.dedicated_ratio <= ratios.min_ratio <= ratios.max_ratio:
                raise ValueError("dedicated_ratio <= min_ratio <= max_ratio does not hold")
        if self.embb.min_ratio + self.urllc.min_ratio > 100:
            raise ValueError("min_ratio of both slices is more than 100 % together")
        return self


class Link(_Section):
    """From SINR to bits."""

    efficiency: Share
    margin_db: float
    max_bits_per_s_hz: Positive
    rank2_gain: float
    rank2_sinr_db: float
    rank2_width_db: Positive
    min_sinr_db: float
    fading_sigma_db: float
    fading_block_s: Positive
    bler_target: Share
    dl_share: Share
    window_kbit: Positive
    load_memory_s: Positive
    idle_activity: Share


class Handover(_Section):
    """Mobility control and radio link failure (TS 38.331 names)."""

    a3_offset_db: float
    hysteresis_db: float
    time_to_trigger_s: float
    filter_k: int
    noise_sigma_db: float
    interruption_s: float
    fail_sinr_db: float
    fail_width_db: Positive
    command_sinr_db: float
    out_of_sync_sinr_db: float
    in_sync_sinr_db: float
    t310_s: Positive
    reestablishment_s: Positive
    recent_s: Positive
    ping_pong_s: Positive
    access_rsrp_dbm: float
    reselection_hysteresis_db: float
    inactivity_s: Positive


class Measurement(_Section):
    """What users report."""

    report_interval_s: Positive
    neighbours: int = Field(ge=0)
    known_position_share: Share
    position_sigma_m: float
    rsrp_floor_dbm: float


class Energy(_Section):
    """Power of a site, watts."""

    site_base_w: float
    cell_active_w: float
    cell_sleep_w: float
    amplifier_efficiency: Share


class Reporting(_Section):
    """How counters are reported."""

    collection: Literal["delta", "cumulative"]


class BodyLoss(_Section):
    """A hand or head before the antenna."""

    db: float
    share: Share
    block_s: Positive


class ClutterPatches(_Section):
    """Discs with a loss of their own."""

    count: int = Field(ge=0)
    radius_m: Range
    loss_db: Range


class SchedulerOverhead(_Section):
    """Capacity that carries no user data, and what is won back with many users."""

    share: Share
    multiuser_gain: float


class Crowds(_Section):
    """Correlated bursts of demand at hot spots."""

    probability: Share
    block_s: Positive
    factor: Range
    radius_m: Positive


class GainDrift(_Section):
    """A site's gain wanders and is off by a constant."""

    amplitude_db: float
    period_h: Range
    offset_sigma_db: float


class Effects(_Section):
    """What is known here and unknown to the twin."""

    body_loss: BodyLoss
    clutter_patches: ClutterPatches
    scheduler_overhead: SchedulerOverhead
    crowds: Crowds
    gain_drift: GainDrift


class Parameters(_Section):
    """All parameters of the reference network."""

    name: str
    version: str
    layout: Layout
    defaults: Defaults
    time: Time
    propagation: Propagation
    antenna: Antenna
    mobility: Mobility
    traffic: Traffic
    slices: Slices
    link: Link
    handover: Handover
    measurement: Measurement
    energy: Energy
    reporting: Reporting
    effects: Effects

    @property
    def hash(self) -> str:
        """sha256 of the canonical JSON of all values."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()

    @classmethod
    def load(cls, path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Self:
        """Read a parameters file (the shipped one by default).

        Parameters
        ----------
        path
            A TOML file.
        overrides
            Values by dotted name, e.g. ``{"time.step_s": 1.0}``.

        Raises
        ------
        BadParameters
            If the file cannot be read, or a value is missing, unknown or impossible.
        """
        where = path or resources.files("infra.network") / "parameters.toml"
        try:
            content = tomllib.loads(where.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise BadParameters(f"cannot read parameters {where}: {error}", "give a readable TOML file") from error
        for name, value in (overrides or {}).items():
            *sections, last = name.split(".")
            table = content
            for section in sections:
                table = table.setdefault(section, {})
            table[last] = value
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise BadParameters(
                f"parameters {where}: {error}", "compare with the shipped infra/network/parameters.toml"
            ) from error
