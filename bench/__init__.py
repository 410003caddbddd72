"""bench: find out whether a face-privacy protection works.

Plugin authors need only what is exported here; see ``docs/plugins.md``.
"""

from bench.errors import (
    BenchError,
    CapabilityError,
    ContractError,
    DataError,
    MissingDataError,
    PluginError,
    StorageError,
    SuiteError,
)
from bench.hookspecs import (
    Attack,
    Dataset,
    Defense,
    Examples,
    Model,
    Need,
    Network,
    Section,
    Sees,
    TrainingSet,
    hookimpl,
)
from bench.types import Check, DataStatus, Faces, LazyImages, Pairs, Protected, Received, Reconstructed

__version__ = "0.1.0"

__all__ = [
    "Attack",
    "BenchError",
    "CapabilityError",
    "Check",
    "ContractError",
    "DataError",
    "DataStatus",
    "Dataset",
    "Defense",
    "Examples",
    "Faces",
    "LazyImages",
    "MissingDataError",
    "Model",
    "Need",
    "Network",
    "Pairs",
    "PluginError",
    "Protected",
    "Received",
    "Reconstructed",
    "Section",
    "Sees",
    "StorageError",
    "SuiteError",
    "TrainingSet",
    "hookimpl",
]
