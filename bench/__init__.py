"""bench: find out whether a face-privacy protection works.

Plugin authors import everything from `bench`, `bench.metrics` and `bench.testing`; all other modules may change without
notice. See ``docs/plugins.md``.
"""

from __future__ import annotations

import bench.core.current_folder  # noqa: F401  # The first of all imports: it decides where others are looked for.

# isort: split
from typing import TYPE_CHECKING, Any

from bench.api.context import Capabilities, Context, Network, Shallow
from bench.api.datasets import Dataset, TrainingJob, TrainingSet
from bench.api.defense import Defense, Need
from bench.api.hookspecs import Attack, Model, Sees, hookimpl
from bench.api.metric import Metric
from bench.api.results import Results
from bench.api.search_paths import data_dir_option, data_folders, expand, places_named, weights_folders
from bench.api.types import (
    Bound,
    Check,
    DataStatus,
    Examples,
    Faces,
    LazyImages,
    Pairs,
    Pictures,
    Protected,
    Received,
    Reconstructed,
    Section,
)
from bench.core.cache_folder import cache_folder
from bench.core.content_keys import digest_of
from bench.core.domain import Outcome
from bench.core.errors import (
    BenchError,
    CapabilityError,
    ContractError,
    DataError,
    MissingDataError,
    PluginError,
    StorageError,
    SuiteError,
    did_you_mean,
)
from bench.core.files import write_atomically
from bench.core.packages import distributions_of
from bench.core.people import Allowed, comparable_name, everyone
from bench.core.provenance import VERSION as __version__  # noqa: N811
from bench.core.provenance import file_sha256, package_versions
from bench.core.stamps import file_stamp, is_settled
from bench.core.text import printable, without_invisible
from bench.core.whole_files import read_json
from bench.registry.discovery import registered
from bench.registry.sources import imported_names

if TYPE_CHECKING:
    from bench.api.folding import folded
    from bench.registry.components import instantiate
    from bench.suite.overrides import parameters_of

__all__ = [
    "Allowed",
    "Attack",
    "BenchError",
    "Bound",
    "Capabilities",
    "CapabilityError",
    "Check",
    "Context",
    "ContractError",
    "DataError",
    "DataStatus",
    "Dataset",
    "Defense",
    "Examples",
    "Faces",
    "LazyImages",
    "Metric",
    "MissingDataError",
    "Model",
    "Need",
    "Network",
    "Outcome",
    "Pairs",
    "Pictures",
    "PluginError",
    "Protected",
    "Received",
    "Reconstructed",
    "Results",
    "Section",
    "Sees",
    "Shallow",
    "StorageError",
    "SuiteError",
    "TrainingJob",
    "TrainingSet",
    "__version__",
    "cache_folder",
    "comparable_name",
    "data_dir_option",
    "data_folders",
    "did_you_mean",
    "digest_of",
    "distributions_of",
    "everyone",
    "expand",
    "file_sha256",
    "file_stamp",
    "folded",
    "hookimpl",
    "imported_names",
    "instantiate",
    "is_settled",
    "package_versions",
    "parameters_of",
    "places_named",
    "printable",
    "read_json",
    "registered",
    "weights_folders",
    "without_invisible",
    "write_atomically",
]

# These functions import pydantic or torch, which takes longer than ``bench --help`` should, so they are imported when
# they are first used.
_IMPORTED_WHEN_USED = {
    "folded": "bench.api.folding",
    "instantiate": "bench.registry.components",
    "parameters_of": "bench.suite.overrides",
}


def __getattr__(name: str) -> Any:
    if name in _IMPORTED_WHEN_USED:
        import importlib

        return getattr(importlib.import_module(_IMPORTED_WHEN_USED[name]), name)
    raise AttributeError(f"module 'bench' has no attribute {name!r}")
