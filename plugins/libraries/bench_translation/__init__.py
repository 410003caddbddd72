"""Small networks that turn pictures, or embeddings, into faces, and their training: shared by attacks that learn.

It is a library for plugins, not a plugin: it registers nothing. This module does not import torch; its submodules do.

- `bench_translation.networks`: the networks: picture to picture, and embedding to picture.
- `bench_translation.degradations`: blur, pixelation and noise of random strength.
- `bench_translation.losses`: the distance of pictures in pixels and in the features of a recognition network.
- `bench_translation.public_networks`: the network of the attacker's choice, by name.
- `bench_translation.training`: the training on faces of some people, with early stopping on other people.
"""
