"""A producer that somebody else wrote: exported schema, plain libraries, nothing of twinloop.

Usage: producer.py fastavro|confluent BOOTSTRAP REGISTRY_URL AVSC_FILE NETWORK
"""

import io
import json
import sys
import urllib.request
from pathlib import Path

from confluent_kafka import Producer

TOPIC = "telemetry.pm"
ELEMENT = "SubNetwork=1,ManagedElement=vendor7"


def report(network: str, n: int) -> dict[str, object]:
    cells = [
        {"cell": f"{ELEMENT},GNBDUFunction=1,NRCellDU={c}", "values": [float(n), float("nan")], "suspect": c == 2}
        for c in (1, 2)
    ]
    return {
        "network_id": network,
        "event_id": f"vendor-{n}",
        "managed_element": ELEMENT,
        "period_end_ms": 1_700_000_040_000 + 60_000 * n,
        "granularity_s": 60,
        "layout": "vendor-v1",
        "cells": cells,
    }


def with_fastavro(registry: str, text: str, event: dict[str, object]) -> bytes:
    import fastavro

    schema = fastavro.parse_schema(json.loads(text))
    request = urllib.request.Request(
        f"{registry}/subjects/{TOPIC}-value",
        data=json.dumps({"schema": text}).encode(),
        headers={"Content-Type": "application/vnd.schemaregistry.v1+json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        schema_id = json.load(answer)["id"]
    out = io.BytesIO()
    out.write(b"\0" + schema_id.to_bytes(4, "big"))
    fastavro.schemaless_writer(out, schema, event)
    return out.getvalue()


def with_confluent(registry: str, text: str, event: dict[str, object]) -> bytes:
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroSerializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    # AvroSerializer writes every field of the schema; what a producer does not use it fills with the default.
    event = {"collection": "delta", "element_values": []} | event
    client = SchemaRegistryClient({"url": registry})
    serializer = AvroSerializer(client, text, conf={"auto.register.schemas": False})
    value: bytes | None = serializer(event, SerializationContext(TOPIC, MessageField.VALUE))
    assert value is not None
    return value


def main() -> None:
    how, bootstrap, registry, path, network = sys.argv[1:]
    text = Path(path).read_text(encoding="utf-8")
    encode = {"fastavro": with_fastavro, "confluent": with_confluent}[how]
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for n in range(3):
        producer.produce(TOPIC, key=f"{network}|{ELEMENT}", value=encode(registry, text, report(network, n)))
    assert producer.flush(30) == 0
    ours = {"schemas", "streams", "processors", "twin_core", "loops", "infra"}.intersection(sys.modules)
    assert not ours, f"a foreign producer must not need {ours}"


if __name__ == "__main__":
    main()
