"""What a twin is told of propagation before any telemetry: gains and buildings from files."""

from infra.exceptions import SettingsError
from infra.settings import TwinRoleSettings
from processors.twin_sync import TwinSync
from twin_core.exceptions import TwinError
from twin_core.exchange.survey_files import read_survey
from twin_core.network import Network
from twin_core.radio.survey import Survey


def named_files(settings: TwinRoleSettings) -> list[str]:
    """The files that settings name."""
    return [str(path) for path in (settings.gains, settings.buildings) if path is not None]


def survey_for(settings: TwinRoleSettings, sync: TwinSync) -> Survey | None:
    """What is known of the network of a twin that begins; None where settings name no file.

    Raises
    ------
    SettingsError
        If a file cannot be used.
    """
    if not named_files(settings):
        return None
    shard = sync.shard
    network = Network.of(shard.topology, settings.core.physics.pixels_per_isd)
    try:
        return read_survey(network, settings.gains, settings.buildings, elsewhere=sync.elsewhere)
    except (TwinError, OSError) as error:
        raise SettingsError(
            f"what the twin of region {shard.region} should begin with cannot be used: {error}",
            "mend the file, or TWINLOOP_TWIN__GAINS and TWINLOOP_TWIN__BUILDINGS",
        ) from error
