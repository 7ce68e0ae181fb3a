"""How users move, when they are handed over, and when links fail, for `twin_core.flow.mobility`."""

import math
from dataclasses import dataclass, fields, replace

from twin_core.exceptions import InvalidSettings

# Which numbers may be 0 or negative, and which may be 0; the rest must be positive.
_ANY_SIGN = ("a3_offset_db", "qout_db", "access_sinr_db")
_ZERO_TOO = (
    "mean_speed_mps",
    "speed_variation",
    "moving_share",
    "hysteresis_db",
    "time_to_trigger_s",
    "filter_k",
    "shadow_db",
    "unmapped_db",
    "site_correlation",
    "sector_correlation",
    "measurement_noise_db",
    "execution_s",
)
_SHARES = ("moving_share", "site_correlation", "sector_correlation")


@dataclass(frozen=True)
class MobilitySettings:
    """Movement of users, event A3 and radio link failure.

    Attributes
    ----------
    mean_speed_mps, speed_variation
        Of those who move: mean and standard deviation over mean, log-normal. Default (assumption): pedestrians and
        some vehicles.
    moving_share
        Of users; the others stay where they are.
    a3_offset_db, hysteresis_db, time_to_trigger_s
        a3-Offset, hysteresis, timeToTrigger (TS 38.331 5.5.4.4 and 6.3.2: -15..15 dB, 0..15 dB, 0..5.12 s). Defaults
        are common in the field.
    filter_k, sample_s
        filterCoefficient of the L3 filter, by default fc4, and its samples' period, 200 ms (TS 38.331 5.5.3.2).
    shadow_db, decorrelation_m
        What RSRP fluctuates on the way about the map: TR 38.901 UMa NLOS.
    unmapped_db
        What of shadow_db is left where the map was learned from measurements: `on_a_learned_map`. Default (assumption):
        about the RMSE that twins of RSRP are published with.
    site_correlation, sector_correlation
        Of shadowing between sites (0.5 in TR 36.814 A.2.1.1), between sectors of a site (1).
    measurement_noise_db
        Standard deviation of a single measurement of one cell.
    qout_db, sinr_spread_db, t310_s
        SINR out of synchronisation, what fading spreads it by, and for how long until the link has failed. Qout of
        -8 dB is that of TR 36.839 5.2.1.2.
    access_sinr_db
        SINR of the target below which the execution fails.
    execution_s
        From trigger to command.
    recent_s
        A failure so soon after a handover is blamed on it (Tstore_UE_cntxt, TS 38.300 15.5.2).
    ping_pong_s
        A return so soon is a ping-pong.
    noise_figure_db
        Of the user's receiver.
    contenders
        Strongest cells of a pixel among which handovers are looked for.
    """

    mean_speed_mps: float = 4.0
    speed_variation: float = 1.0
    moving_share: float = 0.35
    a3_offset_db: float = 2.0
    hysteresis_db: float = 1.0
    time_to_trigger_s: float = 0.32
    filter_k: float = 4.0
    sample_s: float = 0.2
    shadow_db: float = 6.0
    decorrelation_m: float = 50.0
    unmapped_db: float = 4.0
    site_correlation: float = 0.5
    sector_correlation: float = 1.0
    measurement_noise_db: float = 1.0
    qout_db: float = -8.0
    sinr_spread_db: float = 2.0
    t310_s: float = 1.0
    access_sinr_db: float = -8.0
    execution_s: float = 0.05
    recent_s: float = 3.0
    ping_pong_s: float = 5.0
    noise_figure_db: float = 9.0
    contenders: int = 5

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        for f in fields(self):
            value = float(getattr(self, f.name))
            low = -math.inf if f.name in _ANY_SIGN else 0.0
            if not math.isfinite(value) or value < low or (value == 0 and f.name not in (*_ANY_SIGN, *_ZERO_TOO)):
                wanted = "a finite" if low < 0 else "0 or a positive" if f.name in _ZERO_TOO else "a positive"
                raise InvalidSettings(f"MobilitySettings.{f.name} is {value:g}; give {wanted} number")
            if f.name in _SHARES and value > 1:
                raise InvalidSettings(f"MobilitySettings.{f.name} is {value:g}; give a share between 0 and 1")
        if self.contenders < 2:
            raise InvalidSettings("MobilitySettings.contenders is 1; a handover needs at least 2 cells")

    @property
    def on_a_learned_map(self) -> "MobilitySettings":
        """The same on a map that holds shadowing: no more than unmapped_db of it is left.

        Examples
        --------
        >>> MobilitySettings().on_a_learned_map.shadow_db
        4.0
        """
        return replace(self, shadow_db=min(self.shadow_db, self.unmapped_db))

    @property
    def forget(self) -> float:
        """What the L3 filter gives to the newest sample: a = 2^(-k/4)."""
        return float(2.0 ** (-self.filter_k / 4))

    @property
    def filter_s(self) -> float:
        """Time constant of the L3 filter, 0 without one."""
        return self.sample_s / -math.log(1 - self.forget) if self.forget < 1 else 0.0

    @property
    def samples(self) -> int:
        """How many samples in a row must fulfil the condition."""
        return max(1, math.ceil(self.time_to_trigger_s / self.sample_s - 1e-9))
