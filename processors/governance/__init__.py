"""Governance: which telemetry is usable, and what it says once cleaned."""
