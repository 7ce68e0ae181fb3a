"""Apicurio Registry, asked through its Confluent-compatible API."""

import json
import threading
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from infra.local.artefacts import fetch
from infra.local.ports import LOOPBACK
from infra.local.runtime import java, java_options
from infra.local.service import LocalService


class LocalRegistry(LocalService):
    """The registry under ``<root>/registry``. Schemas live in an H2 file, so they survive a restart."""

    name: ClassVar[str] = "registry"

    def __init__(self, root: Path, port: int) -> None:
        super().__init__(root, port)
        self._program: Path | None = None

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/apis/ccompat/v7"

    def prepare(self, tell: Callable[[str], None], cancelled: threading.Event) -> None:
        self._program = fetch("registry", tell, cancelled)
        (self.home / "tmp").mkdir(parents=True, exist_ok=True)

    def command(self) -> Sequence[str | Path]:
        program = self._program or fetch("registry")
        settings = [f"-D{key}={value}" for key, value in self._settings().items()]
        return [
            java(),
            "-Xms64m",
            "-Xmx256m",
            *java_options(self.home / "tmp"),
            *settings,
            "-jar",
            program / "quarkus-run.jar",
        ]

    def probe(self, timeout_s: float) -> None:
        # No proxies: a proxy variable must not send loopback traffic elsewhere.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"{self.endpoint}/subjects", timeout=timeout_s) as answer:
            json.load(answer)

    def _settings(self) -> dict[str, str | int]:
        return {
            "quarkus.http.host": LOOPBACK,
            "quarkus.http.port": self._ports[0],
            # Health and metrics would listen on every address otherwise; the system picks a port nobody uses.
            "quarkus.management.host": LOOPBACK,
            "quarkus.management.port": 0,
            "quarkus.http.access-log.enabled": "false",
            "apicurio.storage.kind": "sql",
            "apicurio.storage.sql.kind": "h2",
            # WRITE_DELAY=0: a schema that was acknowledged is in the file, also when the process is killed.
            "apicurio.datasource.url": "jdbc:h2:file:./schemas;DB_CLOSE_ON_EXIT=FALSE;WRITE_DELAY=0",
            "apicurio.datasource.jdbc.initial-size": 2,
            "apicurio.datasource.jdbc.min-size": 2,
            "apicurio.datasource.jdbc.max-size": 10,
            "apicurio.storage.snapshot.location": "./tmp",
            "apicurio.import.work-dir": "./tmp",
        }
