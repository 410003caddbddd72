"""The form of score artifacts: the columns that the rows of a run need, with their types."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from bench.store.artifact_forms import BYTES, FLAGS, FLOATS, INTEGERS, TEXTS, WrongFormError, require, require_type
from bench.store.artifacts import Cache, DamagedError
from bench.store.schema import METRICS, SAMPLE_COLUMNS, SAMPLES_NEEDED

_BY_TYPE = {pa.int64(): INTEGERS, pa.bool_(): FLAGS, pa.string(): TEXTS, pa.binary(): BYTES, pa.float64(): FLOATS}
# The columns of rows that come from their cell, not from the artifact.
_OF_CELL = frozenset(("experiment", "cell", "dataset", "synthetic", "repeat", "defense", "authorised", "attack"))


def check_score(cache: Cache, key: str, columns: Mapping[str, pa.Schema]) -> None:
    """Raise `DamagedError` if a score artifact, with these columns of its tables, lacks columns that its rows need, or
    has them with other types."""
    try:
        for name, schema in columns.items():
            if name == METRICS:  # Its columns are named by the metrics of plugins.
                continue
            require(name in SAMPLE_COLUMNS, f"tables {', '.join(SAMPLE_COLUMNS)}", name)
            own = SAMPLE_COLUMNS[name]
            for column in schema.names:
                if column in own and not pa.types.is_null(schema.field(column).type):  # The type of a column of nulls.
                    require_type(name, column, schema.field(column).type, _BY_TYPE[own[column]])
            for column in SAMPLES_NEEDED[name]:
                require(column in schema.names or column in _OF_CELL, f"{name} with the column {column}", "none")
    except WrongFormError as error:
        raise DamagedError(f"{cache.folder(key)}: {error}") from None
