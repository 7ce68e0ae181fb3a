"""The stream bench runs and gives figures (not how fast: that depends on what else the machine does)."""

import pytest

from infra.benches.stream import run

pytestmark = pytest.mark.integration


def test_the_stream_bench_gives_figures() -> None:
    result = run(quick=True, kafka=False)
    assert result.name == "stream"
    rates = {name: value for name, value in result.figures.items() if name.endswith("_per_cpu_s")}
    assert len(rates) == 4
    assert all(isinstance(value, float) and value > 0 for value in rates.values())
