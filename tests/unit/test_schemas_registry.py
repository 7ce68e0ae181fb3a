"""What can be said about schemas without a registry: exports, differences, the reference page."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import fastavro
import pytest

from schemas.avro import schema_of, schema_text, topic_schemas
from schemas.counters import CELL_COUNTERS, ELEMENT_COUNTERS
from schemas.evolution import differences
from schemas.levers import LEVERS
from schemas.reference import reference
from schemas.registry import Connection, Standing, check, export
from schemas.telemetry import PmReport
from schemas.topics import TOPICS, topic

PM = topic("telemetry.pm")


def test_exported_files_are_the_schemas(tmp_path: Path) -> None:
    files = export(tmp_path / "new" / "folder")
    assert {f.name: json.loads(f.read_text()) for f in files} == {
        f"{t.subject}.avsc": json.loads(text) for t, text in topic_schemas().items()
    }
    for file in files:
        fastavro.schema.load_schema(str(file), named_schemas={})


def test_differences_are_named_at_any_depth() -> None:
    schema = schema_of(PmReport)
    fields = {f["name"]: f for f in schema["fields"]}
    cell = fields["cells"]["type"]["items"]["fields"]
    cell[0]["type"] = ["null", "string"]
    cell.append({"name": "quality", "type": {"type": "array", "items": "long"}, "default": []})
    fields["collection"]["default"] = "cumulative"
    fields["layout"]["doc"] = "said otherwise"
    schema["fields"].remove(fields["granularity_s"])
    assert differences(schema_text(PmReport), json.dumps(schema)) == [
        "adds CellCounters.quality",
        "changes CellCounters.cell from string to union of null, string",
        'changes the default of PmReport.collection from "delta" to "cumulative"',
        "removes PmReport.granularity_s without a default",
    ]
    assert differences(schema_text(PmReport), schema_text(PmReport)) == []


def test_namespaces_written_apart_are_no_difference() -> None:
    apart = json.loads(schema_text(PmReport).replace('"name":"io.twinloop.telemetry.', '"name":"'))
    apart["namespace"] = "io.twinloop.telemetry"
    assert differences(schema_text(PmReport), json.dumps(apart)) == []


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"is_compatible": True}, ""),
        ({"is_compatible": False, "messages": ["READER_FIELD_MISSING", "at /fields/9"]}, "READER_FIELD_MISSING; at /f"),
        ({"is_compatible": False}, "adds PmReport.extra without a default"),
    ],
)
def test_the_registrys_own_words_come_first(answer: dict[str, Any], message: str) -> None:
    class Client:
        """As much of a registry client as check() asks."""

        class _rest_client:  # noqa: N801
            @staticmethod
            def post(path: str, body: dict[str, str]) -> dict[str, Any]:
                assert path.startswith("compatibility/subjects/telemetry.pm-value/")
                return answer

        def get_versions(self, subject: str) -> list[int]:
            return [1]

        def lookup_schema(self, subject: str, schema: object) -> None:
            from confluent_kafka.schema_registry import SchemaRegistryError

            raise SchemaRegistryError(404, 40403, "not found")

        def get_latest_version(self, subject: str) -> Any:
            from types import SimpleNamespace

            return SimpleNamespace(schema=SimpleNamespace(schema_str=schema_text(PmReport)))

    schema = schema_of(PmReport)
    schema["fields"].append({"name": "extra", "type": "string"})
    connection = Connection(Client(), "http://here")  # type: ignore[arg-type]
    (report,) = check(connection, {PM: json.dumps(schema)})
    assert report.standing is (Standing.INCOMPATIBLE if message else Standing.COMPATIBLE)
    assert report.message.startswith(message)


def test_the_base_install_works_without_a_registry_client() -> None:
    script = """
import sys
for absent in ("confluent_kafka", "fastavro", "httpx"):
    sys.modules[absent] = None
from schemas.exceptions import RegistryUnavailable
from schemas.registry import connect, export
import schemas.reference
try:
    connect("http://127.0.0.1:1")
except RegistryUnavailable as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "twinloop[streams]" in done.stdout


def test_the_reference_page_names_everything() -> None:
    page = reference()
    for name in [
        *(f"`{t.name}`" for t in TOPICS),
        *(f"`{f}`" for t in TOPICS for f in t.event.model_fields),
        *(f"`{c}`" for c in (*CELL_COUNTERS, *ELEMENT_COUNTERS, *LEVERS)),
        "0.1 degree",
        "kbit/s",
    ]:
        assert name in page
    headings = {line.lstrip("# ").lower() for line in page.splitlines() if line.startswith("#")}
    links = {part.partition(")")[0] for part in page.split("](#")[1:]}
    assert links <= headings
    widths = {line.replace("\\|", "").count("|") for line in page.splitlines() if line.startswith("|")}
    assert widths == {4, 5, 6}
