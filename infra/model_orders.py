"""A person's orders about learned models: promote a version or a file, roll back. Audited; the twin takes them up.

1. In one transaction: the version's row, its event in the outbox, audit record, alert.
2. The outbox is published. Where Kafka is away, the next order publishes it first.

Parameters are checked against the network before anything is promoted; a file that must not be used is refused, which
is recorded too.
"""

import hashlib
import math
import uuid
from contextlib import closing
from pathlib import Path

from infra.exceptions import InfraError
from infra.roles.base import Context
from infra.roles.publishing import OutboxPublisher
from infra.storage.database import Database
from infra.storage.models import in_force, load_version, record_decision
from infra.storage.revisions import latest_revision
from infra.topologies import topology_or_explain
from loops.learning.track import Action, Decision
from twin_core.exceptions import InvalidModel
from twin_core.learned.reading import read_model

_ROLE = "models"


class ModelRefused(InfraError):
    """A model that must not be used."""


def promote_version(context: Context, model: str, version: str, actor: str, reason: str) -> Decision:
    """Put a version that is kept in force.

    Raises
    ------
    UnknownModel
        If there is no such version.
    ModelRefused
        If its parameters are not kept (it never won), or do not fit the network.
    """
    with context.database(_ROLE) as database:
        with database.transaction() as connection:
            row = load_version(connection, context.network_id, context.region, model, version)
        if not row.parameters:
            raise ModelRefused(
                f"no parameters of {model} {version} are kept: it is {row.state}, and never was in force",
                "promote a version that was; `twinloop models list` shows them",
            )
        return _promote(context, database, model, version, row.parameters, actor, reason)


def promote_file(context: Context, model: str, path: Path, actor: str, reason: str) -> Decision:
    """Put the parameters in a file (safetensors or JSON) in force; the version's name follows from its content.

    Raises
    ------
    ModelRefused
        If the file cannot be read, holds NaN, or does not fit the network.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelRefused(f"{path}: {error.strerror}", "name a file that `models show --parameters` wrote") from None
    version = f"file-{hashlib.blake2b(data, digest_size=5).hexdigest()}"
    with context.database(_ROLE) as database:
        return _promote(context, database, model, version, data, actor, reason)


def roll_back(context: Context, model: str, actor: str, reason: str) -> Decision:
    """Put the version before the one in force back, or none if it was the first.

    Raises
    ------
    ModelRefused
        If no version is in force, or the one before is not kept.
    """
    with context.database(_ROLE) as database:
        with database.transaction() as connection:
            row = in_force(connection, context.network_id, context.region, model)
            if row is None:
                raise ModelRefused(f"no version of {model} is in force", "`twinloop models list` shows what there is")
            back = row.parent and load_version(connection, context.network_id, context.region, model, row.parent)
        parameters = back.parameters if back else b""
        decision = _decision("rolled_back", model, row.version, row.parent, parameters, reason or "ordered by a person")
        _write(context, database, decision, actor)
        return decision


def _promote(
    context: Context, database: Database, model: str, version: str, data: bytes, actor: str, reason: str
) -> Decision:
    topology = topology_or_explain(database, context.network_id)
    with database.transaction() as connection:
        row = in_force(connection, context.network_id, context.region, model)
    parent = row.version if row and row.version != version else (row.parent if row else "")
    try:
        read_model(model, version, data, len(topology.cells))
    except InvalidModel as error:
        _write(context, database, _decision("refused", model, version, parent, b"", str(error)), actor)
        raise ModelRefused(str(error), "the twin stays as it is") from None
    decision = _decision("promoted", model, version, parent, data, reason or "ordered by a person")
    _write(context, database, decision, actor)
    return decision


def _decision(action: Action, model: str, version: str, parent: str, parameters: bytes, reason: str) -> Decision:
    return Decision(action, model, version, parent, parameters, math.nan, math.nan, 0, reason[:2000])


def _write(context: Context, database: Database, decision: Decision, actor: str) -> None:
    with database.transaction() as connection:
        newest = latest_revision(connection, context.network_id, context.region)
        if newest is None:
            raise InfraError("the twin has no revision yet", "start it with `twinloop run bridge twin`")
        order = f"/{uuid.uuid4().hex[:8]}"
        record_decision(
            connection, _ROLE, context.network_id, context.region, decision, newest.period_end_ms, actor, order
        )
    with closing(OutboxPublisher(context, _ROLE)) as publisher:
        publisher.publish(database)
