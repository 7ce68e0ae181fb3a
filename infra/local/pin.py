"""Write ``artefacts.json`` anew: resolve the programs' dependencies and pin every file by SHA-256.

Run after changing a version here: ``python -m infra.local.pin``. Users never run it.
"""

import hashlib
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jgo.config import GlobalSettings
from jgo.maven import Artifact, MavenContext

from infra.local.artefacts import Artefact, ArtefactSet

_KAFKA = "4.1.0"
_REGISTRY = "3.3.3"


def _sets(context: MavenContext) -> dict[str, tuple[str, list[Artifact]]]:
    server = context.create_dependency(f"org.apache.kafka:kafka_2.13:{_KAFKA}")
    inputs, transitive = context.resolver.resolve([server])
    # Kafka's own distribution adds this binding; without it the broker logs nothing, not even why it stopped.
    log4j = next(d.version for d in transitive if d.artifactId == "log4j-core")
    binding = context.create_dependency(f"org.apache.logging.log4j:log4j-slf4j-impl:{log4j}")
    registry = context.project("io.apicurio", "apicurio-registry-app").at_version(_REGISTRY)
    return {
        "kafka": (_KAFKA, [d.artifact for d in [*inputs, *transitive, binding]]),
        "registry": (_REGISTRY, [registry.artifact("all", "tar.gz")]),
    }


def _pin(artifact: Artifact) -> Artefact:
    content = artifact.resolve().read_bytes()
    return Artefact(
        group=artifact.groupId,
        name=artifact.artifactId,
        version=artifact.version,
        classifier=artifact.classifier,
        packaging=artifact.packaging,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )


def main() -> None:
    """Resolve, fetch, hash, write."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(8) as pool:
        context = MavenContext(repo_cache=Path(folder), timeout=60)
        context.remote_repos.update(GlobalSettings.load().repositories)
        pins = {
            name: ArtefactSet(version=version, artefacts=tuple(sorted(pool.map(_pin, files), key=str)))
            for name, (version, files) in _sets(context).items()
        }
    text = json.dumps({name: pin.model_dump() for name, pin in pins.items()}, indent=1)
    Path(__file__).with_name("artefacts.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
