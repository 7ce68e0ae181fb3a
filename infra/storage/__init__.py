"""PostgreSQL: schema and migrations, connections that come back, outbox, progress, revisions, time series."""
