"""Everything on disk: run folders, the cache of artifacts, journals. No other package reads or writes these files.

A run folder ``results/<suite>/<run>/`` contains

- ``run.json``: the provenance record: the suite, and the code, data, weights and machine of the run
- ``cells.parquet``: one row per cell, with its status and reason
- ``stages.parquet``: one row per stage: how it ended, seconds and memory
- ``samples/<table>/experiment=<name>/part-00000.parquet`` ...: the rows of each experiment, in the order of its cells

The tables are

- ``verification``: one row per (cell, pair)
- ``images``: one row per (data set, defense, authorised models, repeat, attack, image), where ``attack`` is empty for
  the image that the client uploads and the label of the attack for an image that it reconstructs
- ``baselines``: one row per (data set, image): the baselines of the image metrics
- ``examples``: a few of these images and their originals, as PNG
- ``attributes``: one row per (cell, image, attribute)
- ``up``: one row per (cell, image, noise level): the terms of Equation 9

Aggregates are never stored: the tables of a report are computed from these rows. Rows are written and read in pieces of
bounded size, so that a run may have more rows than fit into memory.
"""
