"""The demo: services, live network, twin and loops for an hour or two of simulated time, and a report."""
