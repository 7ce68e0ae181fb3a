"""What a network has told of itself: topology and levers (table ``networks``; the bridge writes it)."""

import threading

import structlog

from infra.exceptions import InfraError
from infra.storage.database import Connection, Database
from infra.storage.rows import find_one
from schemas.levers import LEVERS
from schemas.strategies import Strategy
from schemas.topology import Topology

_LOOK_AGAIN_S = 0.5


def find_topology(database: Database, network_id: str) -> Topology | None:
    """The topology of a network, None if it has not been heard of."""
    with database.transaction() as connection:
        row = find_one(connection, "networks", {"network_id": network_id})
    return Topology.model_validate(row["topology"]) if row else None


def topology_or_explain(database: Database, network_id: str) -> Topology:
    """The topology of a network.

    Raises
    ------
    InfraError
        If it has not been heard of.
    """
    topology = find_topology(database, network_id)
    if topology is None:
        raise InfraError(
            f"network {network_id} has not been heard of yet",
            "start its bridge, or name another with TWINLOOP_NETWORK_ID; `twinloop status` lists networks",
        )
    return topology


def lacking_levers(connection: Connection, strategy: Strategy) -> list[str]:
    """Attributes that a strategy sets and its network cannot be told to; none where the network does not say."""
    row = find_one(connection, "networks", {"network_id": strategy.network_id})
    levers = set(row["levers"] if row and row["levers"] else LEVERS)
    return sorted({c.attribute for c in strategy.all_changes} - levers)


def load_topology(database: Database, network_id: str, stop: threading.Event) -> Topology | None:
    """The topology of a network, waiting until its bridge has told it; None if told to stop first."""
    told = False
    while not stop.is_set():
        topology = find_topology(database, network_id)
        if topology is not None:
            return topology
        if not told:
            structlog.get_logger().info("waiting for the network's topology; its bridge writes it", network=network_id)
            told = True
        stop.wait(_LOOK_AGAIN_S)
    return None
