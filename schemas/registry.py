"""The schema registry: register and check our schemas, list what it holds, export them for foreign producers.

Works against any registry with the Confluent API; tested against Apicurio 3, which has no compatibility rule unless
one is set, so the rule of every subject is set here.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from schemas.avro import topic_schemas
from schemas.evolution import differences
from schemas.exceptions import IncompatibleSchema, RegistryUnavailable
from schemas.topics import Compatibility, Topic

if TYPE_CHECKING:  # the base install has no registry client
    from confluent_kafka.schema_registry import SchemaRegistryClient

_T = TypeVar("_T")

# Ten seconds for a request, two more tries a second apart: a registry that restarts takes about five.
_DEFAULTS: dict[str, object] = {"timeout": 10, "max.retries": 2, "retries.wait.ms": 500, "retries.max.wait.ms": 2000}

# Confluent's codes: no such subject, no such version, no such schema, no rule of its own.
_NOT_FOUND = (40401, 40402, 40403, 40408)


class Standing(StrEnum):
    """How our schema of a subject stands to what the registry holds."""

    NEW = "new"
    UNCHANGED = "unchanged"
    COMPATIBLE = "compatible"  # differs, and may be registered
    INCOMPATIBLE = "incompatible"


@dataclass(frozen=True)
class SubjectReport:
    """One subject in the answer to ``check`` and ``register``.

    ``schema_id`` is None where our schema is not registered; ``message`` says why it cannot be, in the registry's
    words where it has any.
    """

    subject: str
    topic: str
    compatibility: Compatibility
    standing: Standing
    schema_id: int | None = None
    message: str = ""


@dataclass(frozen=True)
class RegisteredSubject:
    """What the registry holds under one subject."""

    subject: str
    versions: tuple[int, ...]
    schema_id: int
    compatibility: str
    ours: bool


class Connection:
    """A registry client that raises this package's errors and asks one question at a time."""

    def __init__(self, client: "SchemaRegistryClient", url: str) -> None:
        self._client = client
        self.url = url

    def subjects(self) -> list[str]:
        """Names of all subjects, sorted."""
        return sorted(self._ask(self._client.get_subjects))

    def versions(self, subject: str) -> tuple[int, ...]:
        """Versions of a subject, oldest first; empty if the registry does not know it."""
        return tuple(sorted(self._ask(lambda: self._client.get_versions(subject), missing=())))

    def latest_id(self, subject: str) -> int:
        """Schema id of a subject's newest version."""
        return int(self._ask(lambda: self._client.get_latest_version(subject)).schema_id)

    def latest_text(self, subject: str) -> str:
        """Text of a subject's newest version."""
        return str(self._ask(lambda: self._client.get_latest_version(subject)).schema.schema_str)

    def find(self, subject: str, text: str) -> int | None:
        """Id under which this very schema is registered for the subject, or None."""
        found = self._ask(lambda: self._client.lookup_schema(subject, _avro(text)), missing=None)
        return None if found is None else int(found.schema_id)

    def avro_text(self, schema_id: int) -> str | None:
        """Text of the Avro schema with that id; None if there is none, or it is of another kind or in parts."""
        schema = self._ask(lambda: self._client.get_schema(schema_id), missing=None)
        if schema is None or (schema.schema_type or "AVRO") != "AVRO" or schema.references:
            return None
        return str(schema.schema_str)

    def register(self, subject: str, text: str) -> int:
        """Register a schema; returns its id.

        Raises
        ------
        IncompatibleSchema
            If the subject's rule forbids it.
        """
        return int(self._ask(lambda: self._client.register_schema(subject, _avro(text)), subject=subject))

    def objection(self, subject: str, text: str) -> str:
        """Why the subject's rule forbids this schema, in the registry's words; empty if it does not."""
        # The client's own test_compatibility answers yes or no and drops the reasons.
        path = f"compatibility/subjects/{quote(subject, safe='')}/versions?verbose=true"
        answer = self._ask(lambda: self._client._rest_client.post(path, body={"schema": text, "schemaType": "AVRO"}))
        if answer.get("is_compatible", False):
            return ""
        # Apicurio gives no reasons here, only when it refuses to register.
        reasons = answer.get("messages") or differences(self.latest_text(subject), text)
        return "; ".join(map(str, reasons)) or "incompatible; the registry gives no reason"

    def compatibility(self, subject: str) -> str:
        """The rule of a subject, NONE if it has no rule of its own."""
        return str(self._ask(lambda: self._client.get_compatibility(subject), missing="NONE"))

    def set_compatibility(self, subject: str, rule: Compatibility) -> None:
        """Set the rule of a subject."""
        self._ask(lambda: self._client.set_compatibility(subject, rule.value))

    def _ask(self, question: Callable[[], _T], missing: Any = ..., subject: str = "") -> Any:
        """Ask, and turn what goes wrong into an error of ours. ``missing`` answers for «not found»."""
        from confluent_kafka.schema_registry import SchemaRegistryError

        try:
            return question()
        except SchemaRegistryError as error:
            # The code as well as the status: a wrong address answers 404 too, and must not read as «no such schema».
            if error.error_code in _NOT_FOUND and missing is not ...:
                return missing
            if error.http_status_code == 409:
                raise IncompatibleSchema(
                    f"the registry refuses our schema of {subject}: {error.error_message}\n"
                    "Remedy: change the model so that old and new read each other (add fields with defaults, never "
                    "rename, retype or remove), or give the event a new topic"
                ) from error
            raise RegistryUnavailable(
                f"the registry at {self.url} answers {error.http_status_code}: {error.error_message}\n"
                "Remedy: look at the registry's log; check that the address ends in its Confluent API, and credentials"
            ) from error
        except Exception as error:
            if isinstance(error, ValueError):
                cause = f"what answers at {self.url} is no schema registry: {error}"
            elif isinstance(error, OSError) or _is_http_error(error):
                cause = f"the registry at {self.url} does not answer: {type(error).__name__}"
            else:
                raise
            raise RegistryUnavailable(
                f"{cause}\n"
                "Remedy: start it (`twinloop up`), check the address, and that no proxy variable diverts it (NO_PROXY)"
            ) from error


def _is_http_error(error: Exception) -> bool:
    # The client uses httpx, httpx2 or requests, by its version and Python's; only the last derives from OSError.
    return any(base.__module__.partition(".")[0] in ("httpx", "httpx2") for base in type(error).__mro__)


def connect(url: str, properties: Mapping[str, object] | None = None) -> Connection:
    """A connection to the registry at ``url`` (comma-separated where there are several).

    Parameters
    ----------
    properties
        Further properties of confluent-kafka's registry client, such as ``ssl.ca.location`` or
        ``basic.auth.user.info``. They are passed through and never shown.

    Raises
    ------
    RegistryUnavailable
        If the client is not installed, or refuses a property.
    """
    public = _without_credentials(url)
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient
    except ImportError as error:
        raise RegistryUnavailable(
            "the registry client is not installed\nRemedy: pip install 'twinloop[streams]'"
        ) from error
    try:
        client = SchemaRegistryClient({**_DEFAULTS, **(properties or {}), "url": url})
    except (ValueError, TypeError, OSError):
        # The client's own words may hold a secret, and so does its traceback.
        names = ", ".join(sorted(properties or {})) or "none"
        raise RegistryUnavailable(
            f"the registry client refuses the address {public} or one of its properties ({names})\n"
            "Remedy: the address begins with http; property names are those of confluent-kafka's SchemaRegistryClient"
        ) from None
    return Connection(client, public)


def check(connection: Connection, schemas: Mapping[Topic, str] | None = None) -> list[SubjectReport]:
    """How each of our schemas stands to the registry; changes nothing.

    Parameters
    ----------
    schemas
        Schema text by topic; those of :func:`schemas.avro.topic_schemas` unless given.
    """
    return [_check_one(connection, topic, text) for topic, text in (schemas or topic_schemas()).items()]


def register(connection: Connection, schemas: Mapping[Topic, str] | None = None) -> list[SubjectReport]:
    """Register every schema, each under its own compatibility rule. Doing it again changes nothing.

    Raises
    ------
    IncompatibleSchema
        If the registry refuses one; the subjects before it are registered, and nothing is ever removed.
    """
    reports = []
    for topic, text in (schemas or topic_schemas()).items():
        before = _standing(connection, topic, text)
        # The rule first, so that there is no moment in which a foreign producer could register anything it likes.
        if connection.compatibility(topic.subject) != topic.compatibility.value:
            connection.set_compatibility(topic.subject, topic.compatibility)
        schema_id = connection.register(topic.subject, text)
        reports.append(SubjectReport(topic.subject, topic.name, topic.compatibility, before, schema_id))
    return reports


def registered(connection: Connection, schemas: Mapping[Topic, str] | None = None) -> list[RegisteredSubject]:
    """What the registry holds, our subjects and foreign ones."""
    ours = {topic.subject: text for topic, text in (schemas or topic_schemas()).items()}
    return [
        RegisteredSubject(
            subject=subject,
            versions=connection.versions(subject),
            schema_id=connection.latest_id(subject),
            compatibility=connection.compatibility(subject),
            ours=subject in ours and connection.find(subject, ours[subject]) is not None,
        )
        for subject in connection.subjects()
    ]


def export(directory: Path, schemas: Mapping[Topic, str] | None = None) -> list[Path]:
    """Write each schema as ``<subject>.avsc``, for producers that do not use this code; returns the files."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for topic, text in (schemas or topic_schemas()).items():
        path = directory / f"{topic.subject}.avsc"
        path.write_text(json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        paths.append(path)
    return paths


def _standing(connection: Connection, topic: Topic, text: str) -> Standing:
    if not connection.versions(topic.subject):
        return Standing.NEW
    return Standing.UNCHANGED if connection.find(topic.subject, text) is not None else Standing.COMPATIBLE


def _check_one(connection: Connection, topic: Topic, text: str) -> SubjectReport:
    standing = _standing(connection, topic, text)
    schema_id, message = None, ""
    if standing is Standing.UNCHANGED:
        schema_id = connection.find(topic.subject, text)
    elif standing is Standing.COMPATIBLE:
        message = connection.objection(topic.subject, text)
        standing = Standing.INCOMPATIBLE if message else standing
    return SubjectReport(topic.subject, topic.name, topic.compatibility, standing, schema_id, message)


def _avro(text: str) -> Any:
    from confluent_kafka.schema_registry import Schema

    return Schema(text, "AVRO")


def _without_credentials(url: str) -> str:
    """Addresses without the user:password@ that they may carry."""
    parts = [urlsplit(part.strip()) for part in url.split(",")]
    return ",".join(part._replace(netloc=part.netloc.rpartition("@")[2]).geturl() for part in parts)
