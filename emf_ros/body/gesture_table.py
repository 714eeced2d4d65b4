"""How often a gesture is shown, by its evidence: `benchmarks/body.py --fit` wrote it."""

# fmt: off

#: Evidence at which the table has a probability.
EVIDENCE = (0, 0.2, 0.4, 0.6, 0.8, 1)
#: Probability at this evidence, a row for each of `gestures.GESTURES`.
PROBABILITY = (
    (0.049, 0.552, 0.552, 0.552, 0.552, 0.623),  # wave
    (0.016, 0.128, 0.244, 0.451, 0.693, 0.693),  # point
    (0.004, 0.270, 0.489, 0.489, 0.489, 0.490),  # stop
    (0.012, 0.178, 0.320, 0.432, 0.535, 0.752),  # raise_hand
    (0.018, 0.630, 0.723, 0.827, 0.885, 0.885),  # hands_up
)
