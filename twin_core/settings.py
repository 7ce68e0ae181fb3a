"""Settings of a twin. They travel in its snapshot, so that a restored twin goes on as it would have."""

from dataclasses import dataclass, field, fields
from typing import Any

from twin_core.exceptions import InvalidSettings
from twin_core.flow.mobility_settings import MobilitySettings


@dataclass(frozen=True)
class PhysicsSettings:
    """How the network is discretised and solved.

    Attributes
    ----------
    pixels_per_isd
        Pixels between neighbouring sites; 10 is 50 m at 500 m.
    candidates
        Cells that may share a pixel's users; further ones hold less than a thousandth in practice.
    interferers
        Cells that are kept one by one as interferers of a neighbourhood; further ones are taken together at their mean.
        The SINR's error is under 0.1 dB at the 95th percentile.
    noise_figure_db
        Of the user's receiver.
    coverage_dbm
        RSRP at which half the users of a pixel find no cell.
    tolerance
        Largest change of any load between the last two iterations of the fixed point.
    max_iterations
        After which the fixed point is reported as not converged.
    link_curve
        What a user gets at a SINR: "shannon", the truncated Shannon bound over the CQI table, or "mcs", what arrives by
        the chosen scheme of TS 38.214 with block errors and retransmissions (`twin_core.radio.mcs`).
    backlog_periods
        Traffic waits at most so many periods of a cell's capacity; what waits longer is given up.
    """

    pixels_per_isd: int = 10
    candidates: int = 4
    interferers: int = 96
    noise_figure_db: float = 9.0
    coverage_dbm: float = -122.0
    tolerance: float = 1e-4
    max_iterations: int = 60
    backlog_periods: float = 1.0
    link_curve: str = "shannon"


@dataclass(frozen=True)
class CalibrationSettings:
    """How fast the environment follows the telemetry. Half-lives are in granularity periods.

    Attributes
    ----------
    prior_users_per_cell, prior_kbps_per_user
        What a planner would guess before any telemetry.
    gain_half_life, shadow_half_life, seen_half_life, users_half_life, demand_half_life,
    capacity_half_life, busy_half_life, power_half_life
        Memory of cell gains, shadowing map, places of reports, user map, demand level,
        capacity and throughput, capacity by load, power.
    shadow_length_m
        Length of the kernel that spreads residuals of RSRP over the map.
    shadow_prior_weight
        Reports it takes to believe a residual half.
    trend_damping
        What a trend keeps of itself per period.
    """

    prior_users_per_cell: float = 15.0
    prior_kbps_per_user: float = 400.0
    gain_half_life: float = 12.0
    shadow_half_life: float = 120.0
    seen_half_life: float = 8.0
    users_half_life: float = 0.7
    demand_half_life: float = 5.0
    capacity_half_life: float = 12.0
    busy_half_life: float = 60.0
    power_half_life: float = 60.0
    shadow_length_m: float = 30.0
    shadow_prior_weight: float = 1.5
    trend_damping: float = 0.9


@dataclass(frozen=True)
class FidelitySettings:
    """When the twin is trusted. See `twin_core.fidelity` for the scores.

    Attributes
    ----------
    warm_up
        Periods that must have been scored before any gate opens.
    half_life
        Memory of a score, periods.
    gates
        Score below which a KPI blocks the outer loop; a KPI without a gate is only reported. Set halfway between what
        fitted and unfitted twins reach on networks of some 20 users a cell; 0.4 for RSRP is an RMSE of 9 dB.
    rsrp_reference_db
        RMSE at which the score of RSRP is 0.
    """

    warm_up: int = 10
    half_life: float = 10.0
    gates: tuple[tuple[str, float], ...] = (
        ("RRU.PrbTotDl", 0.6),
        ("DRB.UEThpDl", 0.5),
        ("DRB.PdcpSduVolumeDL", 0.6),
        ("RRC.ConnMean", 0.6),
        ("PEE.AvgPower", 0.9),
        ("L1M.SS-RSRP", 0.4),
    )
    rsrp_reference_db: float = 15.0


@dataclass(frozen=True)
class TwinSettings:
    """All settings of a twin.

    Attributes
    ----------
    calibrate
        Whether telemetry fits the environment; without it the twin only follows configuration and outages.
    roll_out_dtype
        float32 or float64, the precision of roll-outs; the state is always fitted in float64.
    mobility
        Movement, event A3 and failures behind the handover counters of `twin_core.reporting`.
    """

    calibrate: bool = True
    roll_out_dtype: str = "float32"
    physics: PhysicsSettings = field(default_factory=PhysicsSettings)
    calibration: CalibrationSettings = field(default_factory=CalibrationSettings)
    fidelity: FidelitySettings = field(default_factory=FidelitySettings)
    mobility: MobilitySettings = field(default_factory=MobilitySettings)

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        for part in (self.physics, self.calibration, self.fidelity):
            for f in fields(part):
                value = getattr(part, f.name)
                if isinstance(value, int | float) and f.name != "coverage_dbm" and not 0 < value < 1e9:
                    raise InvalidSettings(f"{type(part).__name__}.{f.name} is {value}; give a positive number")
        if self.physics.link_curve not in ("shannon", "mcs"):
            raise InvalidSettings(f"link_curve is {self.physics.link_curve!r}; choose shannon or mcs")
        if self.roll_out_dtype not in ("float32", "float64"):
            raise InvalidSettings(f"roll_out_dtype is {self.roll_out_dtype!r}; choose float32 or float64")
        if not self.calibration.trend_damping <= 1:
            raise InvalidSettings("trend_damping must not exceed 1, else a trend grows without end")

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "calibrate": self.calibrate,
            "roll_out_dtype": self.roll_out_dtype,
            "physics": vars(self.physics),
            "calibration": vars(self.calibration),
            "fidelity": {**vars(self.fidelity), "gates": [list(g) for g in self.fidelity.gates]},
            # Only where it differs, so that snapshots of twins that never had it keep their bytes.
            **({"mobility": vars(self.mobility)} if self.mobility != MobilitySettings() else {}),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "TwinSettings":
        """The settings that `to_json` wrote.

        Examples
        --------
        >>> TwinSettings.from_json(TwinSettings(calibrate=False).to_json()) == TwinSettings(calibrate=False)
        True
        """
        fidelity = dict(value["fidelity"])
        fidelity["gates"] = tuple((str(kpi), float(gate)) for kpi, gate in fidelity["gates"])
        return cls(
            calibrate=bool(value["calibrate"]),
            roll_out_dtype=str(value["roll_out_dtype"]),
            physics=PhysicsSettings(**value["physics"]),
            calibration=CalibrationSettings(**value["calibration"]),
            fidelity=FidelitySettings(**fidelity),
            mobility=MobilitySettings(**value.get("mobility", {})),
        )


def share_per_period(half_life: float) -> float:
    """What an exponential memory with this half-life gives to the newest period.

    Examples
    --------
    >>> share_per_period(1.0)
    0.5
    """
    return float(1.0 - 0.5 ** (1.0 / half_life))
