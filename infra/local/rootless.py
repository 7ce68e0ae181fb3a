"""For root only: an account that PostgreSQL may run under, and folders that account may enter.

No permission of a folder that is not ours is changed: what the account may not reach is copied or put where it may.
"""

import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from infra.local.exceptions import NoUnprivilegedUser
from infra.local.process import Account, as_user

ACCOUNT = "twinloop"
_PUBLIC = Path("/var/lib/twinloop")


def unprivileged_account() -> Account:
    """The system account ``twinloop``, made when it is not there.

    Raises
    ------
    NoUnprivilegedUser
        If it is not there and cannot be made.
    """
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError:
        try:
            subprocess.run(
                ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT],
                check=True,
                capture_output=True,
                text=True,
            )
        except (OSError, subprocess.CalledProcessError) as error:
            raise NoUnprivilegedUser(
                f"PostgreSQL refuses to run as root, and the account {ACCOUNT!r} cannot be made: {error}",
                f"make a system account named {ACCOUNT!r}, or run twinloop as an ordinary user",
            ) from error
        entry = pwd.getpwnam(ACCOUNT)
    return Account(entry.pw_uid, entry.pw_gid)


def can_enter(account: Account, path: Path) -> bool:
    """Whether the account may enter a folder or run a program (asked of the system, which also knows ACLs)."""
    return subprocess.run(["test", "-x", path], check=False, cwd="/", **as_user(account)).returncode == 0


def public_path(home: Path) -> Path:
    """Where the folder that stands for ``home`` is, outside of folders the account may not enter."""
    return _PUBLIC / hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:16]


def public_folder(home: Path, account: Account) -> Path:
    """That folder, made when it is not there, and the account's."""
    folder = _public() / public_path(home).name
    folder.mkdir(exist_ok=True, mode=0o700)
    os.chown(folder, account.uid, account.gid)
    return folder


def public_copy(install: Path) -> Path:
    """A copy of an installed PostgreSQL where every account may run it; made once, complete or absent.

    Parameters
    ----------
    install
        ``.../PACKAGE/pginstallNN``. Its programs look for their libraries in ``.../PACKAGE.libs`` beside the package,
        as binary wheels have it, so that is copied along.
    """
    package = install.parent
    libraries = package.with_name(f"{package.name}.libs")
    stamp = f"{install.resolve()} {install.stat().st_mtime_ns}"
    target = _public() / f"{install.name}-{hashlib.sha256(stamp.encode()).hexdigest()[:16]}"
    if not target.exists():
        work = Path(tempfile.mkdtemp(prefix=".copy-", dir=target.parent))
        try:
            shutil.copytree(install, work / "copy" / package.name / install.name, symlinks=True)
            if libraries.exists():
                shutil.copytree(libraries, work / "copy" / libraries.name, symlinks=True)
            subprocess.run(["chmod", "-R", "a+rX", work / "copy"], check=True)
            try:
                (work / "copy").rename(target)
            except OSError:  # another process was faster
                if not target.exists():
                    raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return target / package.name / install.name


def _public() -> Path:
    _PUBLIC.mkdir(parents=True, exist_ok=True, mode=0o755)
    return _PUBLIC
