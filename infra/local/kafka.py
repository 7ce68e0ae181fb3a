"""Apache Kafka as one KRaft node: broker and controller in one process."""

import base64
import shutil
import subprocess
import threading
import uuid
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import ClassVar

from infra.local.artefacts import fetch
from infra.local.exceptions import ServiceDied
from infra.local.ports import LOOPBACK, is_listening
from infra.local.process import write_atomically
from infra.local.runtime import java, java_options
from infra.local.service import LocalService

_FORMAT_DEADLINE_S = 120.0


class LocalKafka(LocalService):
    """Kafka under ``<root>/kafka``, plain text on loopback."""

    name: ClassVar[str] = "kafka"

    def __init__(self, root: Path, port: int, controller_port: int) -> None:
        super().__init__(root, port, controller_port)
        self._libraries: Path | None = None

    @property
    def endpoint(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def prepare(self, tell: Callable[[str], None], cancelled: threading.Event) -> None:
        self._libraries = fetch("kafka", tell, cancelled)
        (self.home / "tmp").mkdir(parents=True, exist_ok=True)
        logging = resources.files("infra.local").joinpath("log4j2.properties").read_text()
        write_atomically(self.home / "log4j2.properties", logging)
        write_atomically(self.home / "server.properties", self._properties("data"))
        if not (self.home / "data").exists():
            tell("formatting storage")
            self._format()

    def command(self) -> Sequence[str | Path]:
        return [*self._java("-Xms128m", "-Xmx512m"), "kafka.Kafka", "server.properties"]

    def probe(self, timeout_s: float) -> None:
        if not is_listening(self.port):  # asked first: the client library logs every refused connection
            raise ConnectionError("nothing listens yet")
        from confluent_kafka.admin import AdminClient

        AdminClient({"bootstrap.servers": self.endpoint, "log_level": 0}).list_topics(timeout=timeout_s)

    def _format(self) -> None:
        # Into another folder first: a format that was cut off must not look like a formatted one.
        fresh = self.home / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        write_atomically(self.home / "format.properties", self._properties("data.new"))
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # One id in 64 begins with a dash and would be taken for an option.
        tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "-c", "format.properties"]
        done = subprocess.run(
            [*self._java("-Xmx128m"), *tool],
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=_FORMAT_DEADLINE_S,
            check=False,
        )
        if done.returncode != 0:
            tail = "\n".join((done.stdout + done.stderr).splitlines()[-12:])
            raise ServiceDied(f"Kafka could not format its storage:\n{tail}", f"look at {self.home}")
        fresh.rename(self.home / "data")

    def _java(self, *options: str) -> list[str | Path]:
        libraries = self._libraries or fetch("kafka")
        logging = "-Dlog4j2.configurationFile=log4j2.properties"
        return [java(), *options, *java_options(self.home / "tmp"), logging, "-cp", f"{libraries}/*"]

    def _properties(self, folder: str) -> str:
        return "".join(f"{key}={value}\n" for key, value in self._settings(folder).items())

    def _settings(self, folder: str) -> dict[str, str | int]:
        port, controller_port = self._ports
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": folder,
            # A topic nobody declared is a bug, not a wish.
            "auto.create.topics.enable": "false",
            # One node: nothing to replicate to. Few internal partitions: they are loaded at every start.
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 4,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "share.coordinator.state.topic.num.partitions": 1,
            # Groups form at once, and a killed worker's shards move on within a second when its client asks for that.
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,
            "group.consumer.min.session.timeout.ms": 1000,
            "group.consumer.min.heartbeat.interval.ms": 200,
            # Records carry event time, which may be years old (recordings) or ahead (simulated networks): retention
            # by time would delete the first at once, and the default guard would refuse the second.
            "log.retention.ms": -1,
            "log.message.timestamp.after.max.ms": 9223372036854775807,
            # A killed broker may register again only when its last session has run out (9 s by default).
            "broker.heartbeat.interval.ms": 250,
            "broker.session.timeout.ms": 3000,
            # A small heap: the default 128 MB for compaction would be a quarter of it.
            "log.cleaner.threads": 1,
            "log.cleaner.dedupe.buffer.size": 16_777_216,
        }
