"""The user's cache folder, for what can be computed again: digests, cards of networks, bundled scripts."""

from __future__ import annotations

from pathlib import Path

from bench.core.packages import DISTRIBUTION


def cache_folder() -> Path:
    """Return the folder of bench in the user's cache, where the system keeps it: on Linux
    ``$XDG_CACHE_HOME/face-privacy-bench``, by default below ``~/.cache``. It need not exist."""
    import platformdirs

    return platformdirs.user_cache_path(DISTRIBUTION, appauthor=False)
