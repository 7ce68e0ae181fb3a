"""All settings, as one typed tree.

Every field can be set by a variable ``TWINLOOP_SECTION__FIELD`` or in ``twinloop.toml`` in the working directory;
the variable wins. Rooms that have settings of their own define them there; here they hang in one tree. The reference
page is generated from this file.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from infra.exceptions import SettingsError
from infra.local.ports import Ports
from loops.inner.design import Design
from loops.learning.settings import LearnSettings
from loops.outer.settings import OuterSettings
from processors.governance.settings import GovernanceSettings
from twin_core.settings import TwinSettings

SETTINGS_FILE = "twinloop.toml"


class Section(BaseModel):
    """A part of the tree. An unknown name is an error, not a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class KafkaSettings(Section):
    """How to reach Kafka. TLS and SASL pass through to librdkafka."""

    bootstrap_servers: str = Field(default="127.0.0.1:19092", description="Brokers, host:port separated by commas")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="Whether the connection is encrypted (SSL) and authenticated (SASL)"
    )
    sasl_mechanism: str | None = Field(default=None, description="e.g. SCRAM-SHA-512")
    sasl_username: str | None = Field(default=None, description="User of SASL")
    sasl_password: SecretStr | None = Field(default=None, description="Its password")
    sasl_password_file: Path | None = Field(default=None, description="File that holds the password")
    ssl_ca_location: Path | None = Field(default=None, description="CA certificates that the brokers' are checked by")
    ssl_certificate_location: Path | None = Field(default=None, description="Client certificate")
    ssl_key_location: Path | None = Field(default=None, description="Client key")
    ssl_key_password: SecretStr | None = Field(default=None, description="Password of the client key")
    ssl_key_password_file: Path | None = Field(default=None, description="File that holds that password")
    replication_factor: int = Field(default=1, ge=1, description="Of topics that twinloop creates")
    extra: dict[str, str] = Field(default_factory=dict, description="Further librdkafka properties")

    def properties(self) -> dict[str, str]:
        """As librdkafka properties, secrets in clear: for the client alone, never for a log.

        Raises
        ------
        SettingsError
            If a secret's file cannot be read.
        """
        given: dict[str, str | None] = {
            "security.protocol": self.security_protocol,
            "sasl.mechanism": self.sasl_mechanism,
            "sasl.username": self.sasl_username,
            "sasl.password": secret(self.sasl_password, self.sasl_password_file),
            "ssl.ca.location": _text(self.ssl_ca_location),
            "ssl.certificate.location": _text(self.ssl_certificate_location),
            "ssl.key.location": _text(self.ssl_key_location),
            "ssl.key.password": secret(self.ssl_key_password, self.ssl_key_password_file),
        }
        return {**{name: value for name, value in given.items() if value is not None}, **self.extra}


class RegistrySettings(Section):
    """How to reach the schema registry."""

    url: str = Field(default="http://127.0.0.1:18081/apis/ccompat/v7", description="Confluent-compatible API")
    username: str | None = Field(default=None, description="User of basic authentication")
    password: SecretStr | None = Field(default=None, description="Its password")
    password_file: Path | None = Field(default=None, description="File that holds the password")
    ssl_ca_location: Path | None = Field(default=None, description="CA certificates that the server's is checked by")


class DatabaseSettings(Section):
    """How to reach PostgreSQL."""

    url: SecretStr = Field(
        default=SecretStr("postgresql://twinloop@127.0.0.1:15432/twinloop?passfile=var/local/postgres/pgpass"),
        description="libpq URL; the password is better left to PGPASSWORD, a passfile or url_file",
    )
    url_file: Path | None = Field(default=None, description="File that holds the URL")

    def location(self) -> str:
        """The URL in clear: for the client alone, never for a log."""
        return secret(self.url, self.url_file) or ""


class LocalSettings(Section):
    """Services that `twinloop up` runs on this machine."""

    root: Path = Field(default=Path("var/local"), description="Folder of their data, logs and records")
    ports: Ports = Field(default_factory=Ports, description="Ports on 127.0.0.1")


class LogSettings(Section):
    """Structured logs, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="The least that is said")
    form: Literal["auto", "console", "json"] = Field(default="auto", description="auto: console on a terminal")


class MetricsSettings(Section):
    """Prometheus metrics."""

    host: str = Field(default="127.0.0.1", description="Address to listen on")
    port: int | None = Field(default=None, ge=0, le=65535, description="None: no exporter; 0: any free port")


class LockstepSettings(Section):
    """Whether the network waits for the loops (demo, tests)."""

    roles: tuple[str, ...] = Field(
        default=(), description="The network steps when these roles have finished the period; empty: it never waits"
    )
    deadline_s: float = Field(default=120.0, gt=0, description="Longest wait for a period before the bridge gives up")


class BridgeSettings(Section):
    """The bridge between a network that speaks the line protocol and Kafka."""

    command: tuple[str, ...] = Field(default=(), description="Executable of the network with its arguments")
    seed: int = Field(default=1, ge=0, description="Seed the network is started with")
    start_ms: int = Field(default=1_768_244_400_000, ge=0, description="Simulated start, Unix epoch milliseconds")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the network's start message")
    periods: int | None = Field(default=None, ge=1, description="Periods after which it ends; None: never")
    faults: Path | None = Field(default=None, description="File of faults to inject, see Fault plans")
    period_deadline_s: float = Field(default=120.0, gt=0, description="Longest silence of the network")


class TwinRoleSettings(Section):
    """The twin role."""

    adopt_unkeyed: bool = Field(default=True, description="Dead-letter records whose key names no network")
    snapshot_every: int = Field(default=1, ge=1, description="Revisions between snapshots")
    keep_snapshots: int = Field(default=500, ge=2, description="Newest snapshots to keep, beside those of open jobs")
    gains: Path | None = Field(
        default=None, description="Map of path gains (.tif, .npz) that a twin begins with, once; see Networks and maps"
    )
    buildings: Path | None = Field(
        default=None, description="GeoJSON of buildings that a twin begins with, once, where gains are unknown"
    )
    core: TwinSettings = Field(
        default_factory=TwinSettings, description="Physics, calibration, fidelity gates, mobility"
    )
    governance: GovernanceSettings = Field(
        default_factory=GovernanceSettings, description="Which values are possible, and how long to remember"
    )


class FeaturesSettings(Section):
    """The features role."""

    window_periods: int = Field(default=5, ge=1, description="Length of a window in granularity periods")
    slide_periods: int = Field(default=1, ge=1, description="Step from window to window")
    allowed_lateness_periods: int = Field(default=1, ge=0, description="How long a window waits for stragglers")
    host: Literal["in-process", "faust"] = Field(
        default="in-process", description="One role for the network, or Faust workers that share its partitions"
    )
    faust_session_s: float = Field(
        default=10.0, ge=6, description="After which a silent Faust worker's partitions go to others"
    )


class InnerSettings(Section):
    """The inner loop."""

    agents: tuple[str, ...] = Field(
        default=("energy-saving", "load-balancing", "coverage", "slice-assurance"),
        description="Agents that propose, by name; NAME:schedule and NAME:policy propose in that form",
    )
    agent_deadline_s: float = Field(default=5.0, gt=0, description="For an agent's answer; then its process is ended")
    agent_most: int = Field(default=8, ge=1, description="Strategies that an agent may propose at once")
    agent_failures: int = Field(default=3, ge=1, description="Of an agent in a row, after which it is suspended")
    agent_suspension_periods: int = Field(default=60, ge=1, description="For which it is then not asked")
    warm_up_periods: int = Field(default=12, ge=0, description="Periods of telemetry before agents are asked")
    schedule: Path | None = Field(default=None, description="File of strategies to hand in at given periods")
    seed: int = Field(default=1, ge=0, description="Seed of scenarios; job ids mix into it")
    shard_deadline_s: float = Field(default=20.0, gt=0, description="After which a shard is issued again")
    job_deadline_s: float = Field(default=180.0, gt=0, description="After which a job ends INCONCLUSIVE")
    design: Design = Field(default_factory=Design, description="Scenarios, horizon, guards, permitted errors")


class WorkerSettings(Section):
    """A worker."""

    threads: int = Field(default=1, ge=1, description="CPU threads of torch")
    device: str = Field(default="cpu", description="cpu or cuda[:n]")
    cached_twins: int = Field(default=4, ge=1, description="Revisions kept in memory")


class OuterRoleSettings(Section):
    """The outer loop's role."""

    ack_deadline_s: float = Field(default=5.0, gt=0, description="Longest wait for the acknowledgements of a period")
    policy: OuterSettings = Field(default_factory=OuterSettings, description="Stages, judgement, patience")


class AlertSettings(Section):
    """Where alerts go beside their topic."""

    webhook_url: str | None = Field(default=None, description="Receives each alert as a CloudEvents JSON document")
    webhook_secret: SecretStr | None = Field(default=None, description="Key of the HMAC-SHA256 signature header")
    webhook_secret_file: Path | None = Field(default=None, description="File that holds the key")
    alertmanager_url: str | None = Field(
        default=None, description="Alertmanager to post to, e.g. http://127.0.0.1:9093 (v2 API)"
    )
    lasting_s: float = Field(default=3600.0, gt=0, description="How long an alert fires there that nothing ends")
    attempts: int = Field(default=5, ge=1, description="Deliveries tried before giving up")
    timeout_s: float = Field(default=5.0, gt=0, description="Longest wait for the receiver's answer")


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(
        env_prefix="TWINLOOP_",
        env_nested_delimiter="__",
        toml_file=SETTINGS_FILE,
        extra="ignore",
        frozen=True,
    )

    network_id: str = Field(default="demo", description="Which network this process works on")
    region: str = Field(default="1", description="Which region of it")
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    registry: RegistrySettings = Field(default_factory=RegistrySettings)
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    local: LocalSettings = Field(default_factory=LocalSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    lockstep: LockstepSettings = Field(default_factory=LockstepSettings)
    bridge: BridgeSettings = Field(default_factory=BridgeSettings)
    twin: TwinRoleSettings = Field(default_factory=TwinRoleSettings)
    features: FeaturesSettings = Field(default_factory=FeaturesSettings)
    inner: InnerSettings = Field(default_factory=InnerSettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    outer: OuterRoleSettings = Field(default_factory=OuterRoleSettings)
    learn: LearnSettings = Field(default_factory=LearnSettings)
    alerts: AlertSettings = Field(default_factory=AlertSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over variables, variables over the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """Read variables and file once.

    Raises
    ------
    SettingsError
        Naming each setting that is unknown or impossible, without its value: it may be a secret.
    """
    try:
        return Settings()
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False)]
        raise SettingsError(
            "settings cannot be used: " + "; ".join(lines),
            f"mend the TWINLOOP_… variable or the entry of {SETTINGS_FILE}; docs/reference/settings.md lists all",
        ) from None
    except ValueError as error:
        raise SettingsError(
            f"{SETTINGS_FILE} or a TWINLOOP_… variable cannot be read: {error}",
            "write TOML in the file, and JSON for lists and tables in variables",
        ) from None


def secret(value: SecretStr | None, file: Path | None) -> str | None:
    """A secret in clear, from its file if one is named.

    Raises
    ------
    SettingsError
        If the file cannot be read.
    """
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SettingsError(f"secret file {file}: {error.strerror}", "mend its path or permissions") from None
    return value.get_secret_value() if value is not None else None


def _text(path: Path | None) -> str | None:
    return str(path) if path is not None else None
