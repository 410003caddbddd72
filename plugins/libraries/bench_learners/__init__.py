"""The trainer of attacks that learn: they hold out people, and keep the weights that suit these people best.

It is a library for plugins, not a plugin: it registers nothing. This module does not import torch; its submodules do.

- `bench_learners.examples`: faces to learn from and held-out faces, by person; the faces of each step; uploaded and
  mirrored images.
- `bench_learners.fitting`: AdamW with a one-cycle rate and early stopping.
- `bench_learners.losses`: distances between the embeddings of uploads and those of their originals.
- `bench_learners.parameters`, `bench_learners.recognition`: a recogniser that adapts to protected pictures.
- `bench_learners.rearrangement`: a layer that undoes permutations and mixtures of blocks, and maps within blocks.
- `bench_learners.blocks`: images as blocks, and blocks as images.
- `bench_learners.heads`: a new head on a frozen network.
- `bench_learners.weights`: the weights of a trained network as a state, and back.
"""
