"""The twin: network, configuration, environment, physics, roll-outs. Tensors in, tensors out."""
