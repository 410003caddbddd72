"""The columns of result files. An older schema is mapped to these by `bench.store.old_schemas`."""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = 4
SAMPLES = ("verification", "images", "baselines", "examples", "attributes", "up")
_TEXT, _NUMBER, _COUNT, _FLAG = pa.string(), pa.float64(), pa.int64(), pa.bool_()
_TEXTS = pa.list_(_TEXT)
CELLS = pa.schema(
    [
        *((name, _TEXT) for name in ("cell", "experiment", "table", "dataset", "dataset_stands_in_for")),
        ("synthetic", _FLAG),
        *((name, _TEXT) for name in ("defense", "defense_params")),
        *((name, _TEXTS) for name in ("authorised", "authorised_stand_in_for")),
        *((name, _TEXT) for name in ("attack", "via", "upload")),
        ("splits", _TEXTS),
        ("outputs", _TEXT),
        ("leaky", _FLAG),
        *((name, _TEXT) for name in ("evaluated", "evaluated_stands_in_for", "role")),
        ("repeat", _COUNT),
        ("pairs", _COUNT),
        ("kappa", _NUMBER),
        *((name, _TEXT) for name in ("threat", "status", "reason", "failed_stage", "traceback", "log")),
        ("batch", _COUNT),
        ("seconds", _NUMBER),
        ("peak_mb", _NUMBER),
        ("cached", _FLAG),
        *((name, _TEXT) for name in ("device", "stages", "protect", "components")),
    ]
)

STAGES = pa.schema(
    [
        *((name, _TEXT) for name in ("key", "kind", "name", "metric", "status")),
        ("cached", _FLAG),
        ("seconds", _NUMBER),
        ("peak_mb", _NUMBER),
        ("device", _TEXT),
        ("batch", _COUNT),
        ("attempts", _COUNT),
        ("seed", _COUNT),
        *((name, _TEXT) for name in ("reason", "failed_stage", "traceback", "log")),
        ("client_flops", _COUNT),
        ("client_seconds", _NUMBER),
        ("client_reason", _TEXT),
        ("inputs", _TEXT),
    ]
)
