"""Judging photos that any program has protected: does a recognition network still match them with their originals?

``bench judge`` is no run of a suite: nothing is protected, attacked or stored here. `judges` chooses the networks,
`pictures` reads both folders, `preprocessing` holds what is tried on a protected picture before it is recognised,
`thresholds` decides what a match is, `scoring` makes one row for each comparison, and `figures` computes every number
from these rows.
"""
