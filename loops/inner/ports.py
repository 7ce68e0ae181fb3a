"""What the inner loop needs from outside; `infra` implements it on Kafka and PostgreSQL."""

from collections.abc import Sequence
from typing import Protocol

from schemas.ndt import NdtShard, NdtShardResult
from twin_core.twin import Twin


class ShardQueue(Protocol):
    """Where shards are put for workers to take."""

    def send(self, shards: Sequence[NdtShard]) -> None:
        """Put shards on the queue; on return they are safe there."""


class ResultSource(Protocol):
    """Where the workers' results come from, in any order, possibly more than once."""

    def poll(self, timeout_s: float) -> list[NdtShardResult]:
        """What has come, waiting at most so long for the first."""


class TwinSource(Protocol):
    """Where twin revisions are kept."""

    def load(self, network_id: str, region: str, revision: int) -> Twin:
        """That revision.

        Raises
        ------
        LookupError
            If it is not kept any more.
        """
