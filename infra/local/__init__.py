"""Kafka, a schema registry and PostgreSQL on loopback, without a container, root or a system Java."""
