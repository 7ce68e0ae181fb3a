"""The live-network line protocol: JSON lines between twinloop and a network that runs as an executable.

``docs/live_network_protocol.md`` is the specification. ``messages`` are its lines as models, ``client`` talks to an
executable, ``server`` helps to write one in Python, ``check`` tells its author what is wrong.
"""
