"""The former name of `bench.api.hookspecs`.

It is kept for one release so that older plugins still load. Import from ``bench`` instead.
"""

import warnings

from bench.api.context import Network as Network
from bench.api.datasets import *  # noqa: F403
from bench.api.defense import *  # noqa: F403
from bench.api.hookspecs import *  # noqa: F403

warnings.warn("bench.hookspecs is deprecated; import from bench instead", DeprecationWarning, stacklevel=2)
