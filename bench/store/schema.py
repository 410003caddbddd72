"""What the columns of result files are, and what a cell puts into them."""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = 3
SAMPLES = ("verification", "images", "floors", "examples", "attributes", "up")
_TEXT, _NUMBER, _COUNT, _FLAG = pa.string(), pa.float64(), pa.int64(), pa.bool_()
CELLS = pa.schema(
    [
        *((name, _TEXT) for name in ("cell", "experiment", "table", "dataset", "dataset_stands_in_for")),
        ("synthetic", _FLAG),
        *((name, _TEXT) for name in ("defense", "defense_params", "authorised", "authorised_stand_in_for", "attack")),
        *((name, _TEXT) for name in ("via", "upload", "outputs")),
        ("leaky", _FLAG),
        *((name, _TEXT) for name in ("evaluated", "evaluated_stands_in_for", "role")),
        ("repeat", _COUNT),
        ("pairs", _COUNT),
        ("kappa", _NUMBER),
        *((name, _TEXT) for name in ("threat", "status", "reason", "traceback", "log")),
        ("batch", _COUNT),
        ("seconds", _NUMBER),
        ("peak_mb", _NUMBER),
        ("cached", _FLAG),
        *((name, _TEXT) for name in ("device", "stages", "protect", "components")),
    ]
)

STAGES = pa.schema(
    [
        *((name, _TEXT) for name in ("key", "kind", "name", "status")),
        ("cached", _FLAG),
        ("seconds", _NUMBER),
        ("peak_mb", _NUMBER),
        ("device", _TEXT),
        ("batch", _COUNT),
        ("attempts", _COUNT),
        ("seed", _COUNT),
        *((name, _TEXT) for name in ("reason", "traceback", "log")),
        ("client_flops", _COUNT),
        ("client_seconds", _NUMBER),
        ("client_reason", _TEXT),
        ("inputs", _TEXT),
    ]
)


# ---- the rows of samples ---------------------------------------------------------------------------------------------
