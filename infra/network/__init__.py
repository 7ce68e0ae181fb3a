"""The reference live network: single users, their movement, traffic and radio, seen from outside by PM counters.

It stands in for a network that nobody has a model of, so it shares no equation with the twin (and imports none of it):
propagation, antenna, link adaptation, scheduling and demand are its own, with effects that the twin does not model.
It runs as a process of its own (``python -m infra.network``) and speaks the live-network line protocol.

``world`` is what no command can change (movement, demand, terrain, noise); ``simulation`` lets the network serve it.
"""
