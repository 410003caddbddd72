"""The former name of `bench.core.errors`.

It is kept for one release so that older plugins still load. Import from ``bench`` instead.
"""

import warnings

from bench.core.errors import *  # noqa: F403
from bench.core.errors import error_text as in_words  # noqa: F401

warnings.warn("bench.errors is deprecated; import from bench instead", DeprecationWarning, stacklevel=2)
