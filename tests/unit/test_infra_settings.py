"""Settings: typed, documented, from variables and a file, and never telling a secret."""

import os
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, SecretStr

from infra.exceptions import SettingsError
from infra.local.exceptions import PortInUse
from infra.settings import KafkaSettings, Settings, load_settings


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of this machine's settings, and nothing remembered."""
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith("TWINLOOP_")]:
        monkeypatch.delenv(name)
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    for part in get_args(annotation):
        yield from _models_in(part)


def _fields(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, str | None, bool]]:
    for name, field in model.model_fields.items():
        nested = list(_models_in(field.annotation))
        yield f"{path}{name}", field.description, bool(nested)
        for inner in (m for m in nested if not m.__module__.startswith("schemas.")):  # those describe the wire
            yield from _fields(inner, f"{path}{name}.")


# The field around these says what they are: a range, a choice between classes.
_PARTS = {"kind", "low", "high"}


def test_every_setting_is_described() -> None:
    silent = [
        path
        for path, description, is_section in _fields(Settings)
        if not (description or is_section or path.split(".")[-1] in _PARTS)
    ]
    assert silent == []


def test_a_variable_wins_over_the_file_and_the_file_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings().kafka.bootstrap_servers == "127.0.0.1:19092"
    load_settings.cache_clear()
    (tmp_path / "twinloop.toml").write_text('[kafka]\nbootstrap_servers = "file:1"\n[registry]\nurl = "http://file"\n')
    monkeypatch.setenv("TWINLOOP_KAFKA__BOOTSTRAP_SERVERS", "variable:2")
    settings = load_settings()
    assert settings.kafka.bootstrap_servers == "variable:2"
    assert settings.registry.url == "http://file"


def test_the_variable_that_an_error_names_is_the_one_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    variable = PortInUse("postgres", 15432, None).remedy.split("(")[1].split("=")[0]
    monkeypatch.setenv(variable, "15433")
    assert load_settings().local.ports.postgres == 15433


def test_an_unknown_or_impossible_setting_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINLOOP_KAFKA__SASL_PASWORD", "s3cret")
    monkeypatch.setenv("TWINLOOP_LOG__LEVEL", "s3cret")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "kafka.sasl_pasword" in caught.value.cause
    assert "log.level" in caught.value.cause
    assert "s3cret" not in str(caught.value)


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "twinloop.toml").write_text("[kafka\n")
    with pytest.raises(SettingsError, match=r"twinloop\.toml"):
        load_settings()


def test_tls_and_sasl_pass_through_to_the_client(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    kafka = KafkaSettings(
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="twin",
        sasl_password_file=tmp_path / "password",
        ssl_ca_location=tmp_path / "ca.pem",
        ssl_key_password=SecretStr("k3y"),
        extra={"ssl.endpoint.identification.algorithm": "none"},
    )
    assert kafka.properties() == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "twin",
        "sasl.password": "s3cret",
        "ssl.ca.location": str(tmp_path / "ca.pem"),
        "ssl.key.password": "k3y",
        "ssl.endpoint.identification.algorithm": "none",
    }
    assert KafkaSettings().properties() == {"security.protocol": "PLAINTEXT"}


def test_a_missing_secret_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="absent"):
        KafkaSettings(sasl_password_file=tmp_path / "absent").properties()


def test_no_secret_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAFKA__SASL_PASSWORD", "KAFKA__SSL_KEY_PASSWORD", "REGISTRY__PASSWORD", "ALERTS__WEBHOOK_SECRET"):
        monkeypatch.setenv(f"TWINLOOP_{name}", "s3cret")
    monkeypatch.setenv("TWINLOOP_DATABASE__URL", "postgresql://twin:s3cret@db/twinloop")
    settings = load_settings()
    assert settings.database.location() == "postgresql://twin:s3cret@db/twinloop"
    for text in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump())):
        assert "s3cret" not in text
