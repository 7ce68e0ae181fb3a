"""Make tables, topics and subjects, so that roles find what they need."""

from infra.storage.migrate import migrate
from schemas.registry import SubjectReport, connect, register
from schemas.topics import TOPICS
from streams.kafka import KafkaTransport


def prepare(bootstrap_servers: str, registry_url: str, database_url: str) -> list[SubjectReport]:
    """Bring database, topics and registry to what this version needs. Repeating it changes nothing.

    Raises
    ------
    StorageError, TransportError, SchemaError
        If one of them cannot be reached, or the registry refuses a schema.
    """
    migrate(database_url)
    KafkaTransport(bootstrap_servers).ensure_topics(TOPICS)
    return register(connect(registry_url))
