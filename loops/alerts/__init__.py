"""Alerts: CloudEvents with a fingerprint, made by pure functions, delivered to whoever asked for them."""
