"""The trainer of every network that ``bench train`` makes: the zoo, the full-size networks, the attribute estimator.

A library for plugins, no plugin itself: it registers nothing. Nothing here imports torch; its modules do.

- `bench_training.config`: recipes, checked.
- `bench_training.losses`: from embeddings and a class matrix to logits.
- `bench_training.data`: training faces, from a mapped file or decoded on the fly.
- `bench_training.sampling`: which faces a step sees; batches made ahead of time.
- `bench_training.ranks`: one process, or several that torchrun has started.
- `bench_training.checkpoints`: files that are whole or not there.
- `bench_training.schedules`, `bench_training.progress`: learning rates and margins; lines of progress.
- `bench_training.loop`: phases, steps, precision, resuming.
- `bench_training.evaluate`: verification accuracy on the protocols.
- `bench_training.export`: weights files and model cards.
- `bench_training.jobs`: all of it, for a `bench.api.hookspecs.TrainingJob`.
"""
