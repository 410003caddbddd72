"""The trainer behind ``bench train``: for the zoo, the full-size networks and the attribute estimator.

It is a library for plugins, not a plugin: it registers nothing. This module does not import torch; its submodules do.

- `bench_training.config`: recipes and their checks.
- `bench_training.losses`: losses of classification and of pairs.
- `bench_training.data`: training faces, from a mapped file or decoded on the fly.
- `bench_training.sampling`: the images of each step; batches prepared in advance.
- `bench_training.ranks`: one process, or several that torchrun has started.
- `bench_training.checkpoints`: atomic writes, and checkpoints.
- `bench_training.schedules`, `bench_training.progress`: learning rates and margins; lines of progress.
- `bench_training.loop`: phases, steps, precision, resuming.
- `bench_training.evaluate`: verification accuracy on the protocols.
- `bench_training.export`: weights files and model cards.
- `bench_training.jobs`: the whole training for a `bench.TrainingJob`.
"""
