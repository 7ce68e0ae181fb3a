"""Levers by 3GPP name and as tensors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.levers import CIO_GRID_DB
from schemas.names import beam_dn, relation_dn, sector_carrier_dn
from schemas.strategies import ConfigChange
from twin_core.configuration import Configuration
from twin_core.exceptions import InvalidConfiguration, UnknownObject
from twin_core.layouts import hexagonal
from twin_core.network import Network

NETWORK = Network.of(hexagonal(sites=7))
CELLS = NETWORK.cells
DEFAULT = Configuration.default(NETWORK)

_cell = st.integers(0, 20)
_changes = st.one_of(
    st.tuples(_cell, st.floats(1, 200_000)).map(
        lambda t: (sector_carrier_dn(CELLS[t[0]]), "configuredMaxTxPower", round(t[1], 3))
    ),
    st.tuples(_cell, st.integers(-900, 900)).map(lambda t: (beam_dn(CELLS[t[0]]), "digitalTilt", float(t[1]))),
    st.tuples(_cell, st.integers(-1800, 1800)).map(lambda t: (beam_dn(CELLS[t[0]]), "digitalAzimuth", float(t[1]))),
    st.tuples(_cell, st.integers(0, 4)).map(lambda t: (beam_dn(CELLS[t[0]]), "coverageShape", float(t[1]))),
    st.tuples(_cell, st.sampled_from(["LOCKED", "UNLOCKED"])).map(lambda t: (CELLS[t[0]], "administrativeState", t[1])),
    st.tuples(_cell, st.integers(1, 20), st.sampled_from(CIO_GRID_DB)).map(
        lambda t: (relation_dn(CELLS[t[0]], CELLS[(t[0] + t[1]) % 21]), "cellIndividualOffset", float(t[2]))
    ),
)


def change(dn: str, attribute: str, value: float | str) -> ConfigChange:
    return ConfigChange(change_id="c", object=dn, attribute=attribute, value=value)


@given(st.lists(_changes, min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_what_was_set_can_be_read_and_the_differences_lead_there(made: list[tuple[str, str, float | str]]) -> None:
    after = DEFAULT.with_changes(NETWORK, [change(*c) for c in made])
    for (dn, attribute), value in {(dn, a): v for dn, a, v in made}.items():
        assert after.value_of(NETWORK, dn, attribute) == pytest.approx(value)
    steps = DEFAULT.differences(NETWORK, after)
    again = DEFAULT.with_values(NETWORK, {(d.object, d.attribute): d.after for d in steps})
    back = after.with_values(NETWORK, {(d.object, d.attribute): d.before for d in steps})
    for name, tensor in after.tensors().items():
        assert torch.allclose(again.tensors()[name].double(), tensor.double(), atol=1e-6)
        assert torch.allclose(back.tensors()[name].double(), DEFAULT.tensors()[name].double(), atol=1e-6)


def test_a_change_leaves_the_configuration_it_came_from_alone() -> None:
    before = {name: tensor.clone() for name, tensor in DEFAULT.tensors().items()}
    after = DEFAULT.with_changes(NETWORK, [change(CELLS[3], "administrativeState", "SHUTTING_DOWN")])
    assert not after.active[3]
    assert all(torch.equal(before[name], tensor) for name, tensor in DEFAULT.tensors().items())
    assert DEFAULT.same_as(DEFAULT.with_values(NETWORK, {(CELLS[3], "administrativeState"): "UNLOCKED"}))


def test_an_offset_belongs_to_the_serving_cell() -> None:
    after = DEFAULT.with_changes(NETWORK, [change(relation_dn(CELLS[0], CELLS[4]), "cellIndividualOffset", 3)])
    assert after.cio_db[0, 4] == 3
    assert after.cio_db[4, 0] == 0


FOREIGN = "SubNetwork=1,ManagedElement=elsewhere,GNBDUFunction=1,NRCellDU=1"


@pytest.mark.parametrize(
    ("dn", "attribute", "value", "says"),
    [
        (FOREIGN, "administrativeState", "LOCKED", "no cell"),
        (relation_dn(CELLS[0], FOREIGN), "cellIndividualOffset", 3.0, "no cell"),
        (relation_dn(CELLS[0], CELLS[0]), "cellIndividualOffset", 3.0, "itself"),
        (
            sector_carrier_dn(CELLS[0]).replace("GNBDUFunction=1", "GNBDUFunction=2"),
            "configuredMaxTxPower",
            5.0,
            "carried by",
        ),
    ],
)
def test_an_object_of_no_cell_is_refused(dn: str, attribute: str, value: float | str, says: str) -> None:
    with pytest.raises(UnknownObject, match=says):
        DEFAULT.with_changes(NETWORK, [change(dn, attribute, value)])
    with pytest.raises(UnknownObject):
        DEFAULT.value_of(NETWORK, dn, attribute)


@pytest.mark.parametrize(
    ("dn", "attribute", "value"),
    [
        (CELLS[0], "administrativeState", "OFF"),
        (sector_carrier_dn(CELLS[0]), "configuredMaxTxPower", -3.0),
        (sector_carrier_dn(CELLS[0]), "configuredMaxTxPower", float("nan")),
        (beam_dn(CELLS[0]), "digitalTilt", "steep"),
        (beam_dn(CELLS[0]), "coverageShape", "wide"),
        (beam_dn(CELLS[0]), "coverageShape", 2.5),
        (beam_dn(CELLS[0]), "coverageShape", 70_000.0),
        (sector_carrier_dn(CELLS[0]), "coverageShape", 1.0),
        (relation_dn(CELLS[0], CELLS[1]), "cellIndividualOffset", 7.0),
        (CELLS[0], "cellReselectionPriority", 3.0),
    ],
)
def test_a_value_that_no_network_could_take_is_refused(dn: str, attribute: str, value: float | str) -> None:
    for _ in range(2):  # also once the name is known
        with pytest.raises(InvalidConfiguration):
            DEFAULT.with_values(NETWORK, {(dn, attribute): value})


def test_an_unknown_attribute_cannot_be_read() -> None:
    with pytest.raises(UnknownObject, match="knows no attribute"):
        DEFAULT.value_of(NETWORK, CELLS[0], "cellReselectionPriority")


def test_neighbours_share_a_border_and_know_each_other() -> None:
    for i, theirs in enumerate(NETWORK.neighbours):
        assert i not in theirs
        assert 1 <= len(theirs) <= 8
        assert len(set(theirs)) == len(theirs)
    assert torch.equal(NETWORK.overlap, NETWORK.overlap.T)
    lone = Network.of(hexagonal(sites=1))
    assert all(len(theirs) >= 1 for theirs in lone.neighbours)
