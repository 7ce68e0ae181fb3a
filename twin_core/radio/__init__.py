"""Where the radio goes: antennas, propagation, who serves whom, over which links."""
