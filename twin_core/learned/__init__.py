"""Models learned from outcomes, their parameters, and what the twin remembers for them."""
