"""The former name of `bench.stages.contracts` and `bench.api.context`.

It is kept for one release so that older plugins still load. Import from ``bench`` instead.
"""

import warnings

from bench.api.context import *  # noqa: F403
from bench.stages.contracts import *  # noqa: F403

warnings.warn("bench.contracts is deprecated; import from bench instead", DeprecationWarning, stacklevel=2)
