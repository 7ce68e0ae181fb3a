"""What the whole loops keep: conflicts, diagnoses, anomalies, learners, and a person's orders about plans."""

from alembic import op

revision = "0003"
down_revision = "0002"

_TABLES = """
CREATE TABLE conflicts (
    network_id    text NOT NULL,
    conflict_id   text NOT NULL,
    region        text NOT NULL,
    kind          text NOT NULL CHECK (kind IN ('direct', 'indirect', 'implicit')),
    resolution    text NOT NULL CHECK (resolution IN ('priority', 'joint', 'alone', 'open')),
    body          jsonb NOT NULL,
    period_end_ms bigint NOT NULL,
    PRIMARY KEY (network_id, conflict_id)
);

CREATE TABLE diagnoses (
    network_id    text NOT NULL,
    -- A job that did not approve, or a plan that was rolled back.
    subject       text NOT NULL,
    strategy_id   text NOT NULL,
    layer         text NOT NULL CHECK (layer IN ('data', 'model', 'algorithm', 'environment')),
    body          jsonb NOT NULL,
    period_end_ms bigint NOT NULL,
    PRIMARY KEY (network_id, subject)
);

CREATE TABLE anomalies (
    network_id    text NOT NULL,
    cell          text NOT NULL,
    period_end_ms bigint NOT NULL,
    score         double precision NOT NULL,
    body          jsonb NOT NULL,
    PRIMARY KEY (network_id, cell, period_end_ms)
);

-- The newest state of each learner, with the period that it has learned up to.
CREATE TABLE learners (
    network_id    text NOT NULL,
    region        text NOT NULL,
    learner       text NOT NULL,
    period_end_ms bigint NOT NULL,
    payload       bytea NOT NULL,
    PRIMARY KEY (network_id, region, learner)
);
ALTER TABLE models ADD COLUMN region text NOT NULL DEFAULT '1';
ALTER TABLE models ADD COLUMN parameters bytea NOT NULL DEFAULT '';
ALTER TABLE models DROP CONSTRAINT models_pkey;
ALTER TABLE models ADD PRIMARY KEY (network_id, region, model, version);

CREATE TABLE orders (
    network_id text NOT NULL,
    id         bigserial,
    plan_id    text NOT NULL,
    action     text NOT NULL CHECK (action IN ('approve', 'reject', 'pause', 'resume', 'abort', 'rollback')),
    actor      text NOT NULL,
    reason     text NOT NULL DEFAULT '',
    -- What the outer loop made of it, '' until it has looked.
    answer     text NOT NULL DEFAULT '',
    done_ms    bigint,
    PRIMARY KEY (network_id, id)
);
CREATE INDEX orders_open ON orders (network_id, id) WHERE done_ms IS NULL;
"""


def upgrade() -> None:
    """Make the tables."""
    op.get_bind().exec_driver_sql(_TABLES)


def downgrade() -> None:
    """Delete them, with what is in them."""
    op.get_bind().exec_driver_sql(
        "DROP TABLE conflicts, diagnoses, anomalies, learners, orders; "
        "ALTER TABLE models DROP CONSTRAINT models_pkey; ALTER TABLE models DROP COLUMN region, DROP COLUMN parameters; "
        "ALTER TABLE models ADD PRIMARY KEY (network_id, model, version)"
    )
