"""The former name of `bench.runs.train`.

It is kept for one release so that older plugins still load. Import from ``bench`` instead.
"""

import warnings

from bench.api.datasets import TrainingJob as TrainingJob
from bench.runs.train import *  # noqa: F403

warnings.warn("bench.training is deprecated; import from bench instead", DeprecationWarning, stacklevel=2)
