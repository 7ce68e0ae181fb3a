"""What wires and runs: command line, settings, services, storage, network adapters, benches."""
