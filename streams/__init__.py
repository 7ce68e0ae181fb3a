"""Kafka transport, an in-memory transport behind the same interface, serdes, replay, clocks, checkpoints."""
