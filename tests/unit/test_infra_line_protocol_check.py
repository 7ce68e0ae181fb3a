"""The conformance checker: passes what conforms, finds what was planted."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.line_protocol.check import Finding, Level, check
from infra.line_protocol.command_checks import SHAPES, another_ratio, other_values
from schemas.levers import DEDICATED, LEVERS, MAXIMUM, MINIMUM, RATIOS, problem_with
from tests.line_networks import MINIMAL, altered, command, script
from twin_core.radio.antenna import OWN_SHAPE, SHAPES_DEG

SILENCE_S = 10.0
DN = {
    "NRSectorCarrier": "ManagedElement=g,NRSectorCarrier=1",
    "CommonBeamformingFunction": "ManagedElement=g,NRSectorCarrier=1,CommonBeamformingFunction=1",
    "NRCellRelation": "ManagedElement=g,NRCellRelation=g-2",
    "NRCellDU": "ManagedElement=g,NRCellDU=1",
}


def codes(found: list[Finding], level: Level = Level.ERROR) -> set[str]:
    return {f.code for f in found if f.level is level}


def test_the_minimal_network_conforms_and_hears_what_it_lacks() -> None:
    found = check(command(), SILENCE_S)
    assert codes(found) == set()
    assert codes(found, Level.WARNING) == {"counter-wanted"}
    assert codes(found, Level.INFO) == {"no-seed", "no-fork", "no-inject", "counters-missing", "levers-missing"}
    assert all(f.remedy for f in found)


PLANTED = {
    # what is changed in the minimal network: (old, new), and the finding
    "hello missing": ('write(type="hello", proto', 'write(type="greeting", proto', "run-violation"),
    "old protocol": ("twinloop-line/1", "twinloop-line/0", "run-protocol"),
    "hello without a field": ('"azimuth_deg": a, ', "", "run-violation"),
    "two period lengths": ('"granularity_s": PERIOD_S, "cells"', '"granularity_s": 30, "cells"', "granularity"),
    "lever without objects": (
        'levers=["configuredMaxTxPower"]', 'levers=["configuredMaxTxPower", "digitalTilt"]', "configuration",
    ),
    "unknown lever": ('levers=["configuredMaxTxPower"]', 'levers=["configuredMaxTxPower", "colour"]', "unknown-lever"),
    "starts elsewhere": ('now_ms = line["start_time_ms"]', 'now_ms = line["start_time_ms"] + 60000', "start-time"),
    "steps too far": ("now_ms += 1000 * PERIOD_S", "now_ms += 2000 * PERIOD_S", "period-order"),
    "period end too early": ("period_end_ms=now_ms)", "period_end_ms=now_ms - 1)", "period-order"),
    "report of another period": ('"period_end_ms": now_ms,', '"period_end_ms": now_ms - 60000,', "pm-time"),
    "wrong granularity": ('"granularity_s": PERIOD_S,\n', '"granularity_s": 900,\n', "granularity"),
    "unknown layout": ('"layout": LAYOUT["name"]', '"layout": "secret-v7"', "unknown-layout"),
    "too few counters": ("round(100 * load, 2), round(load * 4e6, 1)", "round(100 * load, 2)", "event-invalid"),
    "wrong unit": ("round(100 * load, 2)", "round(1e4 * load, 2)", "out-of-range"),
    "a cell missing": ('"cells": cells})', '"cells": cells[1:]})', "pm-missing-cell"),
    "a cell twice": ('"cells": cells})', '"cells": cells + cells[:1]})', "pm-repeated-cell"),
    "a strange cell": ('{"cell": cell, "values"', '{"cell": cell + "9", "values"', "unknown-cell"),
    "one event id for all": ('f"pm-{now_ms}"', '"pm"', "event-id-repeated"),
    "no event id": ('"event_id": f"pm-{now_ms}", ', "", "event-invalid"),
    "a strange element": ('ment": SITE, "period', 'ment": "ManagedElement=x", "period', "unknown-element"),
    "no answer to commands": ("        command(line)\n", "        pass\n", "command-unanswered"),
    "applies twice": (' if line["id"] in applied else', ' if False else', "not-idempotent"),
    "says it was done before": ('"DUPLICATE" if line["id"] in applied', '"DUPLICATE" if True', "command-not-applied"),
    "forgets what it applied": (
        'power.update({c["object"]: float(c["value"]) for c in line["changes"]})', "pass", "query-mismatch",
    ),
    "takes any value": ("not 1 <= float(c[\"value\"]) <= 40000", "False", "accepts-out-of-range"),
    "takes any object": ('c["object"] not in power or ', "", "accepts-unknown-object"),
    "takes any attribute": ('c["attribute"] != "configuredMaxTxPower"', "False", "accepts-unknown-attribute"),
    "takes any element": (' or line["managed_element"] != SITE', "", "accepts-unknown-element"),
    "makes half of it": ("if bad else", 'if len(bad) == len(line["changes"]) else', "not-atomic"),
    "query without answer": ('"configuration", id=line["id"]', '"configuration", id="?"', "run-silent"),
    "claims a seed": ("capabilities=[]", 'capabilities=["seed"]', "seed"),
    "claims forks": ("capabilities=[]", 'capabilities=["fork"]', "run-refused"),
    "claims faults": ("capabilities=[]", 'capabilities=["inject"]', "inject"),
    "dies of a step": ("def step():\n", "def step():\n    raise SystemExit('broken')\n", "run-died"),
    "exit code": ("        break\n", "        sys.exit(4)\n", "stop"),
    "dies of what it does not know": ('write(type="error"', 'sys.exit(type="error"', "odd-lines"),
}  # fmt: skip


@pytest.mark.parametrize("case", PLANTED)
def test_what_is_planted_is_found(case: str, tmp_path: Path) -> None:
    old, new, code = PLANTED[case]
    silence_s = 0.5 if code == "run-silent" else SILENCE_S
    found = check(altered(tmp_path, old, new), silence_s)
    assert code in {f.code for f in found if f.level is not Level.INFO}, found


def test_draws_that_no_seed_sets_are_found(tmp_path: Path) -> None:
    source = ("capabilities=[]", 'capabilities=["seed"]')
    dice = altered(tmp_path, "round(100 * load, 2)", "round(100 * load * __import__('random').random(), 2)")
    path = Path(dice[-1])
    path.write_text(path.read_text(encoding="utf-8").replace(*source), encoding="utf-8")
    assert "seed" in codes(check(dice, SILENCE_S))


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("cellIndividualOffset", g) for g in (-24.0, 0.0, 6.0, 24.0)]
    + [
        ("configuredMaxTxPower", 1.0),
        ("configuredMaxTxPower", 40_000.0),
        ("digitalTilt", 895.0),
        ("digitalAzimuth", 0.0),
        ("coverageShape", 0.0),
        ("coverageShape", 65_535.0),
    ],
)
def test_other_values_are_possible_ones(attribute: str, value: float) -> None:
    for other in other_values(attribute, value):
        assert problem_with(DN[LEVERS[attribute].cls], attribute, other) is None
        assert other != value or value == LEVERS[attribute].low


def test_shapes_that_are_tried_are_those_that_the_twin_knows() -> None:
    assert set(SHAPES) == {OWN_SHAPE, *SHAPES_DEG}


def shaped(folder: Path, numbers: str) -> list[str]:
    """The minimal network with shapes of beams, of which it has these, in place of power."""
    text = MINIMAL.read_text(encoding="utf-8")
    for old, new in {
        "configuredMaxTxPower": "coverageShape",
        "NRSectorCarrier={i}": "NRSectorCarrier={i},CommonBeamformingFunction=1",
        "20000.0)": "0.0)",
        "(20000 / power[carrier]) ** 0.2": "1",
        'not 1 <= float(c["value"]) <= 40000': f'c["value"] not in {numbers}',
    }.items():
        assert old in text
        text = text.replace(old, new)
    return script(folder, text)


def test_a_network_need_not_have_each_shape_that_the_twin_knows(tmp_path: Path) -> None:
    found = check(shaped(tmp_path, "(0, 3)"), SILENCE_S)
    assert codes(found) == set()
    assert codes(found, Level.WARNING) == {"counter-wanted"}


def test_a_network_whose_shapes_the_twin_cannot_use_should_not_list_them(tmp_path: Path) -> None:
    found = [f for f in check(shaped(tmp_path, "(0, 70)"), SILENCE_S) if f.level is Level.ERROR]
    assert [f.code for f in found] == ["command-not-applied"]
    assert "shapes 0 to 4" in found[0].remedy


@given(st.lists(st.floats(0, 100), min_size=3, max_size=3).map(sorted), st.floats(0, 100), st.permutations(RATIOS))
def test_other_ratios_fit_together_in_any_order(shares: list[float], others: float, order: list[str]) -> None:
    ratios = dict(zip(RATIOS, shares, strict=True))
    others = min(others, 100 - ratios[MINIMUM])
    for attribute in order:
        other = another_ratio(attribute, ratios, others)
        if other is not None:
            assert other != ratios[attribute]
            ratios[attribute] = other
        assert 0 <= ratios[DEDICATED] <= ratios[MINIMUM] <= ratios[MAXIMUM] <= 100
        assert ratios[MINIMUM] + others <= 100 + 1e-9


SLICED = """
import sys
from infra.network import __main__, configuration
if sys.argv.pop(1) == "careless":  # a fork appends its own arguments
    configuration.problem_with_ratios = lambda cell, ratios: None
sys.exit(__main__.main())
"""


def sliced(folder: Path, manner: str) -> list[str]:
    """The reference network, small."""
    return [*script(folder, SLICED), manner, "--users", "30", "--step-s", "1"]


def test_a_network_with_slices_is_asked_for_possible_shares(tmp_path: Path) -> None:
    assert codes(check(sliced(tmp_path, "careful"), SILENCE_S)) == set()


def test_shares_that_do_not_fit_together_must_be_refused(tmp_path: Path) -> None:
    assert "accepts-impossible-ratios" in codes(check(sliced(tmp_path, "careless"), SILENCE_S))


def test_a_network_without_slices_lacks_nothing_of_them() -> None:
    said = [f.message for f in check(command(), SILENCE_S) if f.code in ("counters-missing", "levers-missing")]
    assert len(said) == 2
    assert not any("-000001" in s or "rRMPolicy" in s for s in said)
