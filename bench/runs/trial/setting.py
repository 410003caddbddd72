"""The setting of a trial: a small suite, whose stages are computed in this process where a trial needs them.

`setting.toml` is the suite. Its stages are those of a run: what defenses and attacks learn, and the faces on which
thresholds are set. Their artifacts are kept in the user's cache, apart from those of runs, because code that is being
debugged may make anything.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bench.core.cache_folder import cache_folder
from bench.core.domain import Cell, Kind, Stage
from bench.core.errors import BenchError, MissingDataError, SuiteError
from bench.core.files import folders_in, modified
from bench.engine.factory import check_device, resolve_device
from bench.engine.seeds import seed_streams
from bench.engine.worker import compute_stage
from bench.planning.plan import Plan, make_plan
from bench.registry.discovery import Registry
from bench.stages.stage_inputs import Job
from bench.store.artifacts import Cache, DamagedError
from bench.suite.expand import full_references
from bench.suite.suite import SuiteSource, resolve
from bench.suite.tables import SuiteFile

_SUITE = Path(__file__).with_name("setting.toml")
_KEPT_S = 7 * 86_400  # Artifacts that no trial has used for so long are removed.
_AXES: Mapping[str, str] = {"defense": "defenses", "attack": "attacks", "model": "evaluated", "metric": "metrics"}


@dataclass(frozen=True, kw_only=True)
class TrialSetting:
    """The plan of a trial and the artifacts of its stages; ``note`` is told which stage is computed."""

    plan: Plan
    cache: Cache
    note: Callable[[str], None] = field(default=lambda text: None)

    @property
    def cells(self) -> list[Cell]:
        """The cells that can be measured: one for each model that looks at the face."""
        return [cell for cell in self.plan.cells if cell.skip is None]

    @property
    def fmr(self) -> float:
        """The false match rate that judges allow at most where they set their thresholds."""
        return self.plan.suite.experiments[0].fmr

    def stage(self, key: str) -> Stage:
        """Return the stage with this key."""
        return self.plan.stages[key]

    def score(self, cell: Cell) -> Stage:
        """Return the stage that scores a cell by its own metric; its inputs are what a trial looks at."""
        return self.plan.stages[cell.stages[0]]

    def job(self, key: str, *roles: str) -> Job:
        """Return the job of a stage whose inputs of these roles are computed; by default all inputs."""
        stage = self.stage(key)
        for role, source in stage.inputs.items():
            if not roles or role in roles:
                self._make(source)
        return Job(stage, self.cache)

    def _make(self, key: str) -> None:
        """Compute the artifact of a stage, and what it is made from, unless it is known."""
        with contextlib.suppress(DamagedError):
            self.cache.verify(key)
            return
        stage = self.stage(key)
        for source in stage.inputs.values():
            self._make(source)
        self.note(stage.name)
        seed_streams(stage.seed)
        with self.cache.lock(key):
            compute_stage(stage, self.cache, stage.options["batch"])


def make_setting(
    components: Mapping[Kind, Mapping[str, Any]],
    registry: Registry,
    *,
    where: str,
    seed: int,
    device: str = "cpu",
    features: bool = False,
    trust: bool = False,
    note: Callable[[str], None] = lambda text: None,
) -> TrialSetting:
    """Plan a trial of these components, by kind and as a suite would write them; the others are those of the suite.

    ``features``: the client uploads features in place of images. Raise `SuiteError`, which begins with ``where``, if
    the components cannot be combined.
    """
    raw = tomllib.loads(_SUITE.read_text(encoding="utf-8"))
    raw["suite"]["seed"] = seed
    experiment = raw["experiment"][0]
    experiment |= {_AXES[kind]: [dict(table)] for kind, table in components.items()}
    experiment |= {"upload": "features"} if features else {}
    tables = SuiteFile.model_validate(raw)
    # Relative paths of parameters start in the working folder.
    source = SuiteSource(path=Path.cwd() / "try.toml", tables=tables, raw=raw, sha256="")
    used = resolve_device(device)
    check_device(used)
    torch.set_num_threads(1)  # As in a worker process: the number of threads decides the last bits of results.
    try:
        plan = make_plan(resolve(source, registry, trust=trust), registry, used)
    except BenchError as error:  # It names a place in a file that does not exist.
        raise type(error)(
            re.sub(rf"^{re.escape(str(source.path))}: (experiment\S+ )?", f"{where}: ", str(error))
        ) from None
    cache = Cache(cache_folder() / "try")
    cache.root.mkdir(parents=True, exist_ok=True)
    cache.require_no_links()
    _forget_old(cache)
    for cell in plan.cells:
        for component in (cell.defense, cell.attack, cell.evaluated):
            if component is not None and component.instead_of is not None:  # Its files are missing.
                raise MissingDataError(f"{where}: {component.because}")
    setting = TrialSetting(plan=plan, cache=cache, note=note)
    if not setting.cells:
        reasons = list(dict.fromkeys(cell.skip for cell in plan.cells if cell.skip))
        raise SuiteError(f"{where}: cannot be tried: {reasons[0]}")
    return setting


def check_parameters(kind: Kind, table: Mapping[str, Any], registry: Registry, where: str) -> Any:
    """Return the plugin of a component that a command line names. Raise an error that begins with ``where`` if it does
    not exist, or if a parameter is wrong."""
    from bench.registry.components import build_component

    (reference, *more) = full_references(kind, dict(table), where)
    if more:
        raise SuiteError(f"{where}: expected one component, found a grid of {1 + len(more)}; give one value each")
    return build_component(kind, reference.name, reference.passed, where, registry)


def _forget_old(cache: Cache) -> None:
    """Remove artifacts that no trial has used for a week."""
    cache.sweep()
    shards = [folder for folder in folders_in(cache.root) if len(folder.name) == 2]
    for folder in (found for shard in shards for found in folders_in(shard)):
        if (modified(folder) or 0.0) < time.time() - _KEPT_S:
            cache.discard(folder.name)


def called(table: Mapping[str, Any]) -> str:
    """Return a component as a command line names it: ``NAME,parameter=value``, with values as in TOML."""
    values = (f"{key}={_as_toml(value)}" for key, value in table.items() if key != "plugin")
    return ",".join([str(table["plugin"]), *values])


def in_suite(table: Mapping[str, Any]) -> str:
    """Return a component as a suite names it: its name, or a table with its parameters."""
    return _as_toml(table if len(table) > 1 else table["plugin"])


def _as_toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # The command line is split at commas outside of quotes, and knows no quote after a backslash.
        escaped = json.dumps(value, ensure_ascii=False)[1:-1].replace('\\"', "\\u0022").replace("\x7f", "\\u007f")
        return f'"{escaped}"'
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(name)} = {_as_toml(own)}' for name, own in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_as_toml, value))}]"
    return str(value)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _as_toml(name)
