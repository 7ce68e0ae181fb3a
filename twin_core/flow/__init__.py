"""What traffic makes of the radio: load coupling, slices, what users see, power."""
