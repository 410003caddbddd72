"""Representations in place of pictures: channels of frequencies, learnt codes, and turned templates.

A client that sends no picture sends tensors that only a recogniser made for them can read, which is part of the
defense. That recogniser is the utility; other models get no picture from the upload. *That nobody can look at a
representation is no protection*: whoever learns from uploads of other people may decode it, and only attacks that
declare ``representation`` in their ``sees`` try.

- `bench_representations.channels`: ``dct-channels`` and ``partial-dct``, coefficients of blocks.
- `bench_representations.codes`: ``adv-encoder`` and ``deep-obfuscator``, codes of an encoder that was trained against
  adversaries.
- `bench_representations.templates`: ``slerp-template``, embeddings that are turned towards noise.

These modules hold the declarations and import no torch. The arithmetic is in `cosines`, `channel_recogniser`,
`encoders`, `rotation`; what is learnt from is in `training_faces`.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench import Defense, hookimpl
from bench_representations.channels import DctChannels, PartialDct
from bench_representations.codes import AdvEncoder, DeepObfuscator
from bench_representations.templates import SlerpTemplate

__all__ = ["AdvEncoder", "DctChannels", "DeepObfuscator", "PartialDct", "SlerpTemplate", "bench_defenses"]


@hookimpl
def bench_defenses() -> Mapping[str, type[Defense]]:
    """Register ``dct-channels``, ``partial-dct``, ``adv-encoder``, ``deep-obfuscator`` and ``slerp-template``."""
    return {
        "dct-channels": DctChannels,
        "partial-dct": PartialDct,
        "adv-encoder": AdvEncoder,
        "deep-obfuscator": DeepObfuscator,
        "slerp-template": SlerpTemplate,
    }
