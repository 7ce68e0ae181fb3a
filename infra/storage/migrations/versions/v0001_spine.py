"""The tables of the spine.

Times are event times in epoch milliseconds. Every primary key begins with network_id. There are no foreign keys: rows
come from several writers, each effectively once but in no common order.
"""

from alembic import op
from sqlalchemy import text

revision = "0001"
down_revision = None

_TABLES = """
CREATE TABLE networks (
    network_id      text PRIMARY KEY,
    topology        jsonb NOT NULL,
    levers          jsonb NOT NULL DEFAULT '[]',
    capabilities    jsonb NOT NULL DEFAULT '[]',
    parameters_hash text NOT NULL DEFAULT '',
    granularity_s   integer NOT NULL CHECK (granularity_s > 0),
    updated_ms      bigint NOT NULL
);

CREATE TABLE revisions (
    network_id     text NOT NULL,
    region         text NOT NULL,
    revision       bigint NOT NULL CHECK (revision >= 0),
    event_id       text NOT NULL,
    period_end_ms  bigint NOT NULL,
    frontier       jsonb NOT NULL,
    state_hash     text NOT NULL,
    model_versions jsonb NOT NULL,
    fidelity       jsonb NOT NULL,
    gate_open      boolean NOT NULL,
    counts         jsonb NOT NULL,
    PRIMARY KEY (network_id, region, revision)
);
CREATE INDEX revisions_by_time ON revisions (network_id, region, period_end_ms, revision);

CREATE TABLE snapshots (
    network_id text NOT NULL,
    region     text NOT NULL,
    revision   bigint NOT NULL CHECK (revision >= 0),
    payload    bytea NOT NULL,
    PRIMARY KEY (network_id, region, revision)
);
-- Arrays of floats hardly shrink; trying costs more than it saves.
ALTER TABLE snapshots ALTER COLUMN payload SET STORAGE EXTERNAL;

CREATE TABLE kpis (
    network_id    text NOT NULL,
    cell          text NOT NULL,
    kpi           text NOT NULL,
    period_end_ms bigint NOT NULL,
    observed      double precision,
    predicted     double precision,
    PRIMARY KEY (network_id, cell, kpi, period_end_ms)
);
CREATE INDEX kpis_by_time ON kpis (network_id, period_end_ms);

CREATE TABLE features (
    network_id    text NOT NULL,
    cell          text NOT NULL,
    name          text NOT NULL,
    period_end_ms bigint NOT NULL,
    value         double precision,
    PRIMARY KEY (network_id, cell, name, period_end_ms)
);
CREATE INDEX features_by_time ON features (network_id, period_end_ms);

CREATE TABLE progress (
    network_id    text NOT NULL,
    role          text NOT NULL,
    period_end_ms bigint NOT NULL,
    PRIMARY KEY (network_id, role)
);
CREATE FUNCTION twinloop_tell_progress() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('twinloop_progress', NEW.network_id || '|' || NEW.role || '|' || NEW.period_end_ms);
    RETURN NULL;
END $$;
CREATE TRIGGER progress_made AFTER INSERT ON progress
    FOR EACH ROW EXECUTE FUNCTION twinloop_tell_progress();
CREATE TRIGGER progress_moved AFTER UPDATE ON progress
    FOR EACH ROW WHEN (OLD.period_end_ms IS DISTINCT FROM NEW.period_end_ms)
    EXECUTE FUNCTION twinloop_tell_progress();

CREATE TABLE outbox (
    network_id   text NOT NULL,
    id           bigserial,
    role         text NOT NULL,
    topic        text NOT NULL,
    key          text NOT NULL,
    payload      jsonb NOT NULL,
    event_id     text NOT NULL,
    published_at timestamptz,
    PRIMARY KEY (network_id, id),
    -- An event id is unique within its network and topic.
    UNIQUE (network_id, role, topic, event_id)
);
CREATE INDEX outbox_pending ON outbox (role, network_id, id) WHERE published_at IS NULL;

CREATE TABLE strategies (
    network_id    text NOT NULL,
    strategy_id   text NOT NULL,
    region        text NOT NULL DEFAULT '1',
    agent         text NOT NULL DEFAULT '',
    body          jsonb NOT NULL,
    state         text NOT NULL,
    revision      bigint NOT NULL,
    period_end_ms bigint NOT NULL,
    PRIMARY KEY (network_id, strategy_id)
);
CREATE INDEX strategies_by_state ON strategies (network_id, state, period_end_ms);

CREATE TABLE jobs (
    network_id    text NOT NULL,
    job_id        text NOT NULL,
    strategy_id   text NOT NULL,
    region        text NOT NULL,
    revision      bigint NOT NULL,
    body          jsonb NOT NULL,
    -- Job states of TS 28.572.
    state         text NOT NULL CHECK (state IN
                  ('NOT_STARTED', 'QUEUED', 'RUNNING', 'CANCELLING', 'CANCELLED', 'COMPLETED', 'FAILED')),
    period_end_ms bigint NOT NULL,
    PRIMARY KEY (network_id, job_id)
);
CREATE INDEX jobs_open ON jobs (network_id, region, revision)
    WHERE state NOT IN ('CANCELLED', 'COMPLETED', 'FAILED');

CREATE TABLE job_results (
    network_id  text NOT NULL,
    job_id      text NOT NULL,
    shard_index integer NOT NULL CHECK (shard_index >= 0),
    body        jsonb NOT NULL,
    PRIMARY KEY (network_id, job_id, shard_index)
);

CREATE TABLE verdicts (
    network_id    text NOT NULL,
    job_id        text NOT NULL,
    strategy_id   text NOT NULL,
    body          jsonb NOT NULL,
    verdict       text NOT NULL CHECK (verdict IN ('APPROVED', 'REJECTED', 'INCONCLUSIVE')),
    period_end_ms bigint NOT NULL,
    PRIMARY KEY (network_id, job_id)
);
CREATE INDEX verdicts_by_strategy ON verdicts (network_id, strategy_id);

CREATE TABLE plans (
    network_id  text NOT NULL,
    plan_id     text NOT NULL,
    strategy_id text NOT NULL,
    job_id      text NOT NULL,
    state       text NOT NULL,
    stage       text NOT NULL DEFAULT '',
    body        jsonb NOT NULL,
    fallback    jsonb NOT NULL,
    updated_ms  bigint NOT NULL,
    PRIMARY KEY (network_id, plan_id)
);
CREATE INDEX plans_by_state ON plans (network_id, state);
CREATE INDEX plans_by_strategy ON plans (network_id, strategy_id);

CREATE TABLE plan_transitions (
    network_id text NOT NULL,
    plan_id    text NOT NULL,
    seq        integer NOT NULL CHECK (seq >= 0),
    from_state text,
    to_state   text NOT NULL,
    stage      text NOT NULL DEFAULT '',
    at_ms      bigint NOT NULL,
    reason     text NOT NULL DEFAULT '',
    PRIMARY KEY (network_id, plan_id, seq)
);

CREATE TABLE commands (
    network_id text NOT NULL,
    command_id text NOT NULL,
    plan_id    text NOT NULL,
    stage      text NOT NULL,
    body       jsonb NOT NULL,
    state      text NOT NULL,
    ack        jsonb,
    PRIMARY KEY (network_id, command_id)
);
CREATE INDEX commands_by_plan ON commands (network_id, plan_id, stage);

CREATE TABLE outcomes (
    network_id text NOT NULL,
    plan_id    text NOT NULL,
    stage      text NOT NULL,
    kpi        text NOT NULL,
    cell       text NOT NULL DEFAULT '',
    predicted  double precision,
    low        double precision,
    high       double precision,
    observed   double precision,
    at_ms      bigint NOT NULL,
    PRIMARY KEY (network_id, plan_id, stage, kpi, cell)
);

CREATE TABLE models (
    network_id text NOT NULL,
    model      text NOT NULL,
    version    text NOT NULL,
    parent     text NOT NULL DEFAULT '',
    body       jsonb NOT NULL,
    state      text NOT NULL,
    at_ms      bigint NOT NULL,
    PRIMARY KEY (network_id, model, version)
);

CREATE TABLE alerts (
    network_id  text NOT NULL,
    alert_id    text NOT NULL,
    fingerprint text NOT NULL,
    body        jsonb NOT NULL,
    delivered   jsonb NOT NULL DEFAULT '{}',
    at_ms       bigint NOT NULL,
    PRIMARY KEY (network_id, alert_id)
);
CREATE INDEX alerts_by_fingerprint ON alerts (network_id, fingerprint, at_ms);

CREATE TABLE audit (
    network_id text NOT NULL,
    id         bigserial,
    at_ms      bigint NOT NULL,
    actor      text NOT NULL,
    action     text NOT NULL,
    subject    text NOT NULL,
    detail     jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (network_id, id)
);
CREATE INDEX audit_by_subject ON audit (network_id, subject);
"""

# Usable when it is installed in this database, or when it is there to be installed and loaded by the server. Who may
# not see what the server loads may not install it either; an administrator then runs CREATE EXTENSION first.
_TIMESCALE = """
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')
    OR (EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
        AND EXISTS (SELECT FROM pg_settings WHERE name = 'shared_preload_libraries' AND setting LIKE '%timescaledb%'))
"""
_DAY_MS = 86_400_000


def upgrade() -> None:
    """Make the tables; time series become hypertables where TimescaleDB is there."""
    bind = op.get_bind()
    bind.exec_driver_sql(_TABLES)
    if bind.execute(text(_TIMESCALE)).scalar_one():
        bind.execute(text("CREATE EXTENSION IF NOT EXISTS timescaledb"))
        for table in ("kpis", "features"):
            bind.execute(
                text(
                    "SELECT create_hypertable(CAST(:table AS regclass), 'period_end_ms', "
                    "chunk_time_interval => CAST(:chunk AS bigint), create_default_indexes => false)"
                ),
                {"table": table, "chunk": _DAY_MS},
            )


def downgrade() -> None:
    """Delete the tables, with what is in them."""
    op.get_bind().exec_driver_sql(
        "DROP TABLE networks, revisions, snapshots, kpis, features, progress, outbox, strategies, jobs, job_results, "
        "verdicts, plans, plan_transitions, commands, outcomes, models, alerts, audit; "
        "DROP FUNCTION twinloop_tell_progress"
    )
