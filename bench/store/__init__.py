"""The only reader and writer of result files.

A run folder ``results/<suite>/<run>/`` holds

- ``run.json``: what was asked, on what, by which code, data and weights
- ``cells.parquet``: one row per cell, with status and reason
- ``stages.parquet``: one row per stage: how it ended, seconds and memory
- ``samples/<table>/experiment=<name>/part-00000.parquet`` ...: the rows of each experiment, in the order of its cells

and the tables are

- ``verification``: one row per (cell, pair)
- ``images``: one row per (data set, defense, authorised models, repeat, image), where ``attack`` is empty for what the
  client made and the attack's label for what an adversary made of it
- ``floors``: one row per (data set, image): what an image metric gives without any leak
- ``examples``: a few of these images beside their originals, as PNG
- ``attributes``: one row per (cell, image, attribute)
- ``up``: one row per (cell, image, noise level): the terms of Equation 9

Aggregates are never stored: tables are recomputed from these rows. Rows are written and read a bounded number at a
time, so that a run may have more of them than memory holds.
"""
