"""The provenance record of a run, ``run.json``: what was run, on what machine, by which code, data and weights.

A record is read into a frozen `RunRecord` by the reader of its schema, and is written from one. Reading any file, even
a damaged or foreign one, gives a valid `RunRecord` or one `StorageError`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from bench.core.domain import CellRole, Component
from bench.core.errors import StorageError
from bench.core.files import write_atomically
from bench.core.paths import inside, is_file_name
from bench.core.whole_files import read_json
from bench.store.declarations import MetricDeclaration
from bench.store.schema import SCHEMA_VERSION
from bench.store.typed_json import MistypedError, decode, why_unreadable

RECORD = "run.json"
_OPTIONAL = ("only", "replay_of", "rescored", "stages")  # These fields are left out of run.json if they are empty.


@dataclass(frozen=True, kw_only=True)
class AuxiliaryRecord:
    """The data set whose further people attackers learn from: its label and parameters."""

    label: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ExperimentRecord:
    """One experiment as it was run. ``pairs`` include a change by ``--pairs``; ``claims`` are the paper's values as CSV
    text; a setting that an older version did not record is None. ``auxiliary`` is None where attackers learn from
    other people of each data set. ``metrics`` are the labels of the image metrics of plugins."""

    name: str
    table: str | None = None
    figures: Sequence[str] = ()
    upload: str | None = None
    noise_levels: Sequence[float] | None = None
    pairs: int | None = None
    kappa: float | None = None
    fmr: float | None = None
    claims: str | None = None
    auxiliary: AuxiliaryRecord | None = None
    metrics: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class SuiteRecord:
    """The suite as it was run. ``raw`` is the content of its file with all overrides; ``sha256`` that of the file.
    ``added`` are the labels of the defenses that the command line added (``--defense``)."""

    name: str
    title: str = ""
    description: str = ""
    path: str | None = None
    sha256: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict)
    experiments: Sequence[ExperimentRecord] = ()
    added: Sequence[str] = ()

    @property
    def seed(self) -> int:
        """The suite's seed; 0 where the file does not set one."""
        found = self.head.get("seed", 0)
        return found if isinstance(found, int) else 0

    @property
    def version(self) -> str | None:
        """The version of the suite as it was run; None if it has none."""
        found = self.head.get("version")
        return found if isinstance(found, str) else None

    @property
    def head(self) -> Mapping[str, Any]:
        """The table ``[suite]`` of the file; empty if it has none."""
        found = self.raw.get("suite")
        return found if isinstance(found, Mapping) else {}

    def table(self, experiment: str) -> Mapping[str, Any]:
        """Return the table ``[[experiment]]`` of that name in the file; an empty one if it has none."""
        found = self.raw.get("experiment")
        tables = [table for table in found if isinstance(table, Mapping)] if isinstance(found, list) else []
        return next((table for table in tables if table.get("name") == experiment), {})

    def experiment(self, name: str) -> ExperimentRecord | None:
        """Return the experiment of that name, or None."""
        return next((e for e in self.experiments if e.name == name), None)


@dataclass(frozen=True, kw_only=True)
class OriginRecord:
    """The distribution, version and package of a plugin, and the sha256 of its sources (None where not recorded).
    ``libraries`` are the further packages whose code it uses, with their versions or the sha256 of their sources."""

    distribution: str = "unknown"
    version: str = ""
    package: str | None = None
    digest: str | None = None
    libraries: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DefenseDeclaration:
    """What the class of a defense declares (see `bench.Defense`)."""

    goal: str | None = None
    control: str | None = None
    protects: Sequence[str] = ()
    needs: Sequence[str] = ()
    sends: Sequence[str] = ()
    own_recogniser: bool = False
    max_authorised: int | None = None
    promise: str | None = None
    trusts: str | None = None
    not_promised: str | None = None


@dataclass(frozen=True, kw_only=True)
class AttackDeclaration:
    """What the class of an attack declares (see `bench.Attack`). ``trained_as`` is the attack whose `fit` trains it,
    as a suite writes it; None if its own does."""

    sees: Sequence[str] = ()
    outputs: str | None = None
    trains_on: str | None = None
    threat: str | None = None
    trained_as: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class ModelDeclaration:
    """What the class of a model declares about how the network was made (see `bench.Model`); an empty text is
    unknown."""

    architecture: str = ""
    loss_kind: str = ""
    trained_on: str = ""
    trained_on_people: str = ""


@dataclass(frozen=True, kw_only=True)
class ComponentRecord:
    """A component of a run: the fields of `bench.core.domain.Component`, and what its plugin declared.

    ``roles`` are the roles that it has in cells of the run. ``license``, ``synthetic`` (computer-generated, or trained
    on such data) and ``source`` (the files that it was read from) are about data and weights. ``notes`` are sentences
    about what was noticed while they were read and used. ``defense``, ``attack``, ``model`` and ``metric`` are the
    declarations of a plugin of that kind; None where an older version did not record them.
    """

    kind: str
    name: str
    label: str
    roles: Sequence[CellRole] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    passed: Mapping[str, Any] = field(default_factory=dict)
    origin: OriginRecord = field(default_factory=OriginRecord)
    weights: str | None = None
    via: ComponentRecord | None = None
    on_stand_ins: ComponentRecord | None = None
    instead_of: str | None = None
    because: str | None = None
    license: str | None = None
    synthetic: bool = False
    source: Mapping[str, Any] | None = None
    notes: Sequence[str] = ()
    defense: DefenseDeclaration | None = None
    attack: AttackDeclaration | None = None
    model: ModelDeclaration | None = None
    metric: MetricDeclaration | None = None


@dataclass(frozen=True, kw_only=True)
class PluginRecord:
    """An installed plugin; ``reason`` says why it could not be used, or is None."""

    name: str
    distribution: str | None = None
    version: str | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class MachineRecord:
    """The machine that led the run, described as text."""

    platform: str | None = None
    processor: str | None = None
    cores: int | None = None
    python: str | None = None


@dataclass(frozen=True, kw_only=True)
class LpipsRecord:
    """The sha256 of the VGG weights of LPIPS, or the reason why LPIPS was not measured."""

    sha256: str | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunCounts:
    """Numbers of cells by status, and of stages: all, computed in this run, failed, and taken from the cache.

    None where an older version did not count.
    """

    cells: int | None = None
    ok: int | None = None
    failed: int | None = None
    timeout: int | None = None
    skipped: int | None = None
    queued: int | None = None
    stages: int | None = None
    computed: int | None = None
    failed_stages: int | None = None
    cached: int | None = None

    @property
    def without_result(self) -> int:
        """The number of cells that failed or exceeded their time limit."""
        return (self.failed or 0) + (self.timeout or 0)

    @property
    def known(self) -> dict[str, int]:
        """The recorded numbers by name."""
        return {name: number for name, number in vars(self).items() if number is not None}


@dataclass(frozen=True, kw_only=True)
class MakerRecord:
    """Who made the artifacts that a rescoring uses: those fields of the record of the run that computed them."""

    command: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    host: Mapping[str, str] | None = None
    commit: str | None = None
    machine: MachineRecord = field(default_factory=MachineRecord)
    started: str | None = None
    finished: str | None = None


@dataclass(frozen=True, kw_only=True)
class RescoringRecord:
    """What a rescoring was made from: the folder name of the run, the digest of its plan and the sha256 of its record,
    the ``settings`` that were changed, and the number of scores that were reused unchanged (``kept``)."""

    run: str
    digest: str | None = None
    record_sha256: str | None = None
    settings: Sequence[str] = ()
    kept: int = 0
    made_by: MakerRecord = field(default_factory=MakerRecord)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The content of ``run.json``. What an older version did not record is None or empty.

    ``status`` is ``running``, ``complete``, ``incomplete`` (something failed) or ``interrupted``. ``digest`` is that of
    the plan, ``host`` the sha256 of every module of bench that decides results, ``files`` the sha256 of every result
    file. ``only`` holds the ids of the cells of a run of single cells, ``replay_of`` the folder name of the run that
    this one replays, ``rescored`` what a rescoring was made from; each is None for other runs. ``stages`` are the rows
    of stages that schemas 1 and 2 kept here. ``checked`` has, by kind and name of each component, the version of the
    kit whose checks (``bench check``) its code had passed on this machine, or None; it is None in older records.
    """

    schema: int = SCHEMA_VERSION
    suite: SuiteRecord
    status: str = "unknown"
    command: Sequence[str] = ()
    started: str | None = None
    finished: str | None = None
    seconds: float | None = None
    digest: str | None = None
    device: str | None = None
    device_name: str | None = None
    timeout_s: float | None = None
    engine: str | None = None
    machine: MachineRecord = field(default_factory=MachineRecord)
    versions: Mapping[str, str] = field(default_factory=dict)
    host: Mapping[str, str] | None = None
    lpips: LpipsRecord | None = None
    commit: str | None = None
    plugins: Sequence[PluginRecord] = ()
    checked: Mapping[str, str | None] | None = None
    components: Sequence[ComponentRecord] = ()
    counts: RunCounts | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    only: Sequence[str] | None = None
    replay_of: str | None = None
    rescored: RescoringRecord | None = None
    stages: Sequence[Mapping[str, Any]] = ()

    @property
    def derived(self) -> bool:
        """True for a run of single cells and for a rescoring: neither is the run of its whole suite."""
        return self.only is not None or self.rescored is not None

    @property
    def ended(self) -> bool:
        """True if every stage was computed or has failed."""
        return self.status in ("complete", "incomplete")

    def component(self, kind: str, label: str) -> ComponentRecord | None:
        """Return the component of that kind and label, or None."""
        return next((c for c in self.components if (c.kind, c.label) == (kind, label)), None)


def component_record(component: Component, roles: Sequence[CellRole] = (), **declared: Any) -> ComponentRecord:
    """Return the record of a component. ``declared`` holds the other fields of `ComponentRecord` by name. Parameters
    become values of JSON, so that a new record equals one that was read."""
    via, on_stand_ins = (None if c is None else component_record(c) for c in (component.via, component.on_stand_ins))
    return ComponentRecord(
        kind=component.kind,
        name=component.name,
        label=component.label,
        roles=tuple(roles),
        params=json.loads(json.dumps(dict(component.params), default=str)),
        passed=json.loads(json.dumps(dict(component.passed), default=str)),
        origin=OriginRecord(**vars(component.origin)),
        weights=component.weights,
        via=via,
        on_stand_ins=on_stand_ins,
        instead_of=component.instead_of,
        because=component.because,
        **declared,
    )


# ---- writing ---------------------------------------------------------------------------------------------------------


def as_json(record: RunRecord) -> dict[str, Any]:
    """Return the content of ``run.json``; fields that only some runs have are left out where they are empty."""
    found = asdict(record)
    return {name: value for name, value in found.items() if value or name not in _OPTIONAL}


def write_record(folder: Path, record: RunRecord) -> None:
    """Write ``run.json``, whole or not at all."""
    write_atomically(folder / RECORD, json.dumps(as_json(record), indent=1, default=str))


# ---- the reader of each schema ---------------------------------------------------------------------------------------

Raw = dict[str, Any]


def _from_schema_4(raw: Raw) -> Raw:
    """Return a record of schema 4, which is today's: the fields of `RunRecord` by their names. At first, a component
    had its notes only in ``source``."""
    components = raw.get("components")
    for component in components if isinstance(components, list) else ():
        if isinstance(component, dict) and isinstance(source := component.get("source"), dict):
            notes = source.get("notes")
            texts = [note for note in notes if isinstance(note, str)] if isinstance(notes, list) else []
            component.setdefault("notes", texts)
    return raw


def _from_schema_3(raw: Raw) -> Raw:
    """Convert a record of schema 3, in which the declarations of a plugin were fields of the component itself, and in
    which ``host`` was a single text at first."""
    components = raw.get("components")
    if isinstance(components, list):
        raw["components"] = [_with_declarations(c) if isinstance(c, dict) else c for c in components]
    if isinstance(raw.get("host"), str):
        raw["host"] = {"host": raw["host"]}
    made_by = raw["rescored"].get("made_by") if isinstance(raw.get("rescored"), dict) else None
    if isinstance(made_by, dict) and isinstance(made_by.get("host"), str):
        made_by["host"] = {"host": made_by["host"]}
    return _from_schema_4(raw)


_DECLARATIONS: Mapping[str, tuple[str, type]] = {
    "defense": ("needs", DefenseDeclaration),
    "attack": ("sees", AttackDeclaration),
}


def _with_declarations(component: Raw) -> Raw:
    kind = str(component.get("kind"))
    first, declaration = _DECLARATIONS.get(kind, ("", None))
    if declaration is None or first not in component:
        return component
    names = {f.name for f in fields(declaration)}
    rest = {name: value for name, value in component.items() if name not in names}
    return {**rest, kind: {name: value for name, value in component.items() if name in names}}


def _from_schema_2(raw: Raw) -> Raw:
    """Convert a record of schema 2, which is as in schema 3 and holds the rows of stages in ``stages``."""
    return _from_schema_3(raw)


def _from_schema_1(raw: Raw) -> Raw:
    """Convert a record of schema 1, which is as in schema 2. Its tables had other columns and cannot be read."""
    return _from_schema_2(raw)


_READERS: Mapping[int, Callable[[Raw], Raw]] = {
    1: _from_schema_1,
    2: _from_schema_2,
    3: _from_schema_3,
    4: _from_schema_4,
}
READABLE = (2, 3, 4)  # The schemas of which the tables can be read as well.


def read_record(folder: Path) -> RunRecord:
    """Read ``run.json`` of a run folder.

    Raises `StorageError` if it cannot be read, has an unknown schema, lacks a required value or holds one of a wrong
    type; the message names the file, what was expected and what was found.
    """
    raw = _raw(folder)
    found = raw.get("schema")
    if isinstance(found, bool) or found not in READABLE:
        raise _unreadable_schema(folder, found)
    try:
        record = decode(RunRecord, _READERS[found](raw))
        for number, experiment in enumerate(record.suite.experiments):
            if experiment.pairs is not None and experiment.pairs < 1:
                raise MistypedError(f"suite.experiments[{number}].pairs", "a number from 1 on", experiment.pairs)
        for place, name in _names_of_files(record):
            if not all(map(is_file_name, name.split("/") if place == "files" else [name])):
                raise MistypedError(place, "the name of a file or folder", name)
    except MistypedError as error:
        raise StorageError(f"{folder / RECORD}: {error}") from None
    return record


def _names_of_files(record: RunRecord) -> Iterator[tuple[str, str]]:
    """Yield the texts of a record that become parts of paths, with their places. A path in ``files`` may have several
    parts."""
    rescored = record.rescored.run if record.rescored else None
    names = {"suite.name": record.suite.name, "digest": record.digest, "replay_of": record.replay_of}
    yield from ((place, name) for place, name in {**names, "rescored.run": rescored}.items() if name is not None)
    yield from (("files", path) for path in record.files)


def _unreadable_schema(folder: Path, found: object) -> StorageError:
    """Return the error for results of a schema whose tables this version of bench cannot read."""
    newer = isinstance(found, int) and found > SCHEMA_VERSION
    advice = "install a newer bench" if newer else "run the suite again, or install the bench that wrote them"
    known = f"{', '.join(map(str, READABLE[:-1]))} and {READABLE[-1]}"
    return StorageError(f"{folder}: its results have schema {found}, this bench reads {known}; {advice}")


def salvage_record(folder: Path) -> RunRecord:
    """Read as much of a ``run.json`` of any schema as can be understood, for commands that list and remove runs.

    A value of a wrong type counts as not recorded; a suite without a name is named after the folder. Raises
    `StorageError` if the file is not the record of a run.
    """
    raw = _raw(folder, salvage=True)
    if not {"schema", "suite"} <= raw.keys():
        raise StorageError(f"{folder / RECORD}: expected the record of a run of bench, found something else")
    known = isinstance(raw["schema"], int) and raw["schema"] in _READERS
    raw = _READERS[raw["schema"] if known else SCHEMA_VERSION](raw)
    name = raw["suite"].get("name") if isinstance(raw["suite"], dict) else None
    if not isinstance(name, str) or not is_file_name(name):
        raw["suite"] = {"name": folder.parent.name}
    return decode(RunRecord, raw, salvage=True)


def parse_component(folder: Path, raw: Any) -> ComponentRecord:
    """Return a component from its JSON in ``cells.parquet`` of a run folder. Raises `StorageError` for wrong types."""
    try:
        return decode(ComponentRecord, raw)
    except MistypedError as error:
        raise StorageError(f"{folder / 'cells.parquet'}: components: {error}") from None


def _raw(folder: Path, *, salvage: bool = False) -> Raw:
    """Return the content of ``run.json``, before its types are checked. ``salvage``: characters that are not valid
    Unicode are replaced; otherwise they are an error."""
    path = inside(folder, folder / RECORD)
    if path.exists() and not path.is_file():
        raise StorageError(f"{path}: expected the record of a run, found something else")
    try:
        raw = read_json(path, replace=salvage)
    except (OSError, ValueError, OverflowError) as error:
        raise StorageError(f"{path}: expected the record of a run, found none ({why_unreadable(error)})") from None
    if not isinstance(raw, dict):
        raise StorageError(f"{path}: expected the record of a run, found something else")
    return raw
