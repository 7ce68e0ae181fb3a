"""A real twin process that kills itself with SIGKILL after a given step of its delivery order.

Production code knows nothing of this: the process is started by a test, and the hook it gives to the role is here.
"""

import multiprocessing
import os
import signal
from dataclasses import dataclass, replace
from typing import Any

from infra.roles.base import Context, run_roles
from infra.settings import Settings

# Children are forked from a process that has imported everything and done nothing: a start takes milliseconds, and
# no child inherits threads or connections.
_SPAWN = multiprocessing.get_context("forkserver")
_SPAWN.set_forkserver_preload(
    [
        "infra.roles.twin",
        "infra.roles.features",
        "infra.roles.outer",
        "infra.roles.learn",
        "streams.kafka",
        "tests.crash.dying",
    ]
)
_DEADLINE_S = 60.0


@dataclass(frozen=True)
class Death:
    """Where a process dies: after a step of the period that ends then."""

    step: int
    period_end_ms: int

    def __call__(self, role: str, step: int, period_end_ms: int) -> None:
        """The hook: no cleanup, no flush, no rollback."""
        if (step, period_end_ms) == (self.step, self.period_end_ms):
            os.kill(os.getpid(), signal.SIGKILL)


class TwinProcess:
    """A role in a process of its own.

    Parameters
    ----------
    settings
        The settings tree as a mapping, sections and fields.
    death
        Where it kills itself; None: it lives until it is stopped.
    """

    def __init__(self, settings: dict[str, Any], death: Death | None = None, role: str = "twin") -> None:
        self._process = _SPAWN.Process(target=_body, args=(settings, death, role), daemon=True)

    def __enter__(self) -> "TwinProcess":
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.is_alive():
            self._process.terminate()
        self._process.join(_DEADLINE_S)
        self._process.kill()

    def await_death(self) -> None:
        """Wait until it has killed itself."""
        self._process.join(_DEADLINE_S)
        assert self._process.exitcode == -signal.SIGKILL, f"it ended with {self._process.exitcode}"

    def kill(self) -> None:
        """SIGKILL from outside, at whatever moment this is."""
        self._process.kill()
        self._process.join(_DEADLINE_S)

    def stop(self) -> int | None:
        """SIGTERM; its exit code."""
        self._process.terminate()
        self._process.join(_DEADLINE_S)
        return self._process.exitcode


def _body(settings: dict[str, Any], death: Death | None, role: str) -> None:
    import importlib

    context = Context.of(Settings(**settings))
    if death is not None:
        context = replace(context, after_step=death)
    raise SystemExit(run_roles([importlib.import_module(f"infra.roles.{role}").build(context)]))
