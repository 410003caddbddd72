"""The global random streams of a process."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_streams(seed: int) -> None:
    """Seed the global random streams of Python, numpy and torch on all devices, as is done before each stage."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
