"""docs/howto_agent.md: its code runs as it stands there, and what it writes keeps the contracts."""

import contextlib
import io
import re
import tomllib
from pathlib import Path

import pytest

from infra.agents.panel import Panel
from infra.settings import Settings
from loops.inner.scenarios import load_scenario
from tests.agent_views import view
from tests.installed import install

pytestmark = pytest.mark.integration

PAGE = Path("docs/howto_agent.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', PAGE, re.DOTALL | re.MULTILINE))


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's package, installed."""
    modules = {name.removesuffix(".py"): text for name, text in BLOCKS.items() if name.endswith(".py")}
    offers = tomllib.loads(BLOCKS["pyproject.toml"])["project"]["entry-points"]
    install(tmp_path, monkeypatch, modules, offers)
    load_scenario.cache_clear()


def test_what_the_page_tries_runs_and_shows_a_verdict() -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(BLOCKS["try_it.py"], "try_it.py", "exec"), {"__name__": "__main__"})
    said = out.getvalue()
    assert re.search(r"Take 1 dB from gnb\d+/?-?\d+ \| PRB use \d+ %", said), said
    assert re.search(r"^(APPROVED|REJECTED|INCONCLUSIVE) \| ", said, re.MULTILINE), said
    assert re.search(r"heavy-rain +harmful in \d+ of \d+", said), said


def test_the_agent_answers_from_a_process_of_its_own() -> None:
    panel = Panel(["quiet-power"], deadline_s=20, most=8)
    try:
        (answer,) = panel.ask(view({6: 20.0}, others=60.0))
    finally:
        panel.close()
    assert not answer.failure
    (proposed,) = answer.strategies
    assert proposed.changes[0].attribute == "configuredMaxTxPower"


def test_the_settings_of_the_page_are_settings() -> None:
    settings = Settings(**tomllib.loads(BLOCKS["twinloop.toml"]))
    assert "quiet-power" in settings.inner.agents
    assert "heavy-rain" in settings.inner.design.scenarios.classes
