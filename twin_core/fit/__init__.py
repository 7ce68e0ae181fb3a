"""How telemetry fits the environment."""
