"""When things happened by the wall clock: for measuring the loops, never for event logic.

Triggers note it, so that no role has to, and a row that is written again keeps its first time.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

_TIMINGS = """
CREATE TABLE timings (
    network_id text NOT NULL,
    what       text NOT NULL,
    id         text NOT NULL,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (network_id, what, id)
);
CREATE FUNCTION twinloop_note_time() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO timings (network_id, what, id)
    VALUES (NEW.network_id, TG_ARGV[0], to_jsonb(NEW)->>TG_ARGV[1])
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE FUNCTION twinloop_note_progress() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO timings (network_id, what, id)
    VALUES (NEW.network_id, 'progress ' || NEW.role, NEW.period_end_ms::text)
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER strategies_timed AFTER INSERT ON strategies
    FOR EACH ROW EXECUTE FUNCTION twinloop_note_time('strategy', 'strategy_id');
CREATE TRIGGER verdicts_timed AFTER INSERT ON verdicts
    FOR EACH ROW EXECUTE FUNCTION twinloop_note_time('verdict', 'strategy_id');
CREATE TRIGGER commands_timed AFTER INSERT ON commands
    FOR EACH ROW EXECUTE FUNCTION twinloop_note_time('command', 'command_id');
CREATE TRIGGER progress_timed AFTER INSERT OR UPDATE ON progress
    FOR EACH ROW EXECUTE FUNCTION twinloop_note_progress();
"""


def upgrade() -> None:
    """Make the table and its triggers."""
    op.get_bind().exec_driver_sql(_TIMINGS)


def downgrade() -> None:
    """Delete them."""
    op.get_bind().exec_driver_sql(
        "DROP TRIGGER strategies_timed ON strategies; DROP TRIGGER verdicts_timed ON verdicts; "
        "DROP TRIGGER commands_timed ON commands; DROP TRIGGER progress_timed ON progress; "
        "DROP FUNCTION twinloop_note_time; DROP FUNCTION twinloop_note_progress; DROP TABLE timings"
    )
