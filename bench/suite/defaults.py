"""``[defaults]`` of a suite: the keys that hold for every experiment that does not set them itself.

They are written into the experiments as soon as the file is read, so nothing else needs to know about them, and the
record of a run holds complete experiments.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any

from bench.core.errors import SuiteError, did_you_mean
from bench.core.text import shortened_repr
from bench.suite.tables import ExperimentTable

_PLACE = re.compile(r"experiment\[(\d+)\]\.([a-z_]+)(?:\[(\d+)\])?")
_KEYS = frozenset(ExperimentTable.model_fields) - {"name"}


def write_defaults(raw: dict[str, Any]) -> Callable[[str], str]:
    """Write ``[defaults]`` into the experiments of a suite file and remove the table.

    Return a function of an error message that makes its place that of the defaults, where the value comes from there:
    ``experiment[2].pairs`` becomes ``defaults.pairs``. It compares with ``raw`` as it is when it is called.

    Raise `SuiteError` for a key that is not one of an experiment. Experiments that are not tables are left alone; they
    are an error of their own.
    """
    if "defaults" not in raw:
        return lambda message: message
    defaults = raw.pop("defaults")
    if not isinstance(defaults, Mapping):
        raise SuiteError(f"defaults: expected a table, found {shortened_repr(defaults)}")
    for key in defaults:
        if key not in _KEYS:
            why = "each experiment has a name of its own" if key == "name" else did_you_mean(key, _KEYS)
            raise SuiteError(f"defaults: {key!r} cannot hold for every experiment; {why}")
    experiments = raw.get("experiment")
    places = set()
    for i, table in enumerate(experiments if isinstance(experiments, list) else ()):
        if isinstance(table, dict):
            missing = {key: copy.deepcopy(value) for key, value in defaults.items() if key not in table}
            table.update(missing)
            places |= {(str(i), key) for key in missing}

    def inherited(message: str) -> str:
        found = _PLACE.match(message)
        if not found or (found[1], found[2]) not in places:
            return message
        written, now = defaults[found[2]], raw["experiment"][int(found[1])].get(found[2])
        if now == written:
            return f"defaults.{message[found.start(2) :]}"
        # The list was changed since: by an override, or because some of its entries are read from a reference run.
        entry = now[int(found[3])] if found[3] and isinstance(now, list) else None
        if entry is None or not isinstance(written, list) or entry not in written:
            return message
        return f"defaults.{found[2]}[{written.index(entry)}]{message[found.end() :]}"

    return inherited
