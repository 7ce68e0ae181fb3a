"""Models that learn beside the live network, and how they earn their place in the twin.

Three parts, none of which knows a queue, a database or a clock: `demand` (River) and `residual` (torch) learn from
every period, `contest` judges what they learned on periods that it had not seen, `learner` holds it all together.
"""
