"""Real faces: the paper's data sets and any set of one's own, read from the files that researchers have.

Nothing here imports torch: a suite is planned from these declarations alone.
"""
