"""The former name of `bench.core.domain` and `bench.api.types`.

It is kept for one release so that older plugins still load. Import from ``bench`` instead.
"""

import warnings

from bench.api.types import *  # noqa: F403
from bench.core.domain import *  # noqa: F403

warnings.warn("bench.types is deprecated; import from bench instead", DeprecationWarning, stacklevel=2)
