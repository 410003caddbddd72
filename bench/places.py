"""The former name of `bench.api.search_paths`.

It is kept for one release so that older plugins still load. Import from ``bench`` instead.
"""

import warnings

from bench.api.search_paths import *  # noqa: F403

warnings.warn("bench.places is deprecated; import from bench instead", DeprecationWarning, stacklevel=2)
