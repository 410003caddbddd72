"""A run made again from its record: the same bytes, or a list of what has changed."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from support import InlineWorkers, write_plugin
from support import in_process as bench

from bench.core import provenance
from bench.core.domain import Stage
from bench.core.errors import ReplayError
from bench.registry import discovery, sources
from bench.registry.discovery import Registry
from bench.runs import replay
from bench.runs.replan import changes_around, changes_of_code
from bench.store.reading import RunResults
from bench.store.run_record import ComponentRecord, OriginRecord, RunRecord, SuiteRecord
from bench.store.workspace import Folders
from bench.suite.paper_tables import published
from bench.suite.suite import restore

SUITE = """\
[suite]
name = "small"
seed = 5
[[experiment]]
name = "one"
table = "VII"
claims = "figures.csv"
datasets = ["toy-faces", { plugin = "toy-photos", label = "photos" }]
authorised = ["toy-a"]
evaluated = ["toy-a", "toy-b"]
defenses = ["identity", { plugin = "noise", sigma = 0.1 }, "toy-flaky"]
pairs = 40
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the run of `run` is made, once for all tests."""
    return tmp_path_factory.mktemp("original")


@pytest.fixture
def run(original: Path, tmp_path: Path, inline: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run of its own for each test, whose suite is gone; one of its defenses failed, and photos were
    missing."""
    monkeypatch.chdir(original)
    if not (original / "results").exists():
        (original / "small.toml").write_text(SUITE)
        (original / "figures.csv").write_text(published("VII") or "")
        done = bench(
            "run",
            "--no-report",
            "small.toml",
            "--device",
            "cpu",
            "--pairs",
            6,
            "--set",
            "suite.seed=7",
            "--timeout",
            "20m",
        )
        assert done.exit_code == 1, done.output
        for left in ("small.toml", "figures.csv"):
            (original / left).unlink()
        shutil.rmtree(original / "results" / ".cache")
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    (found,) = (tmp_path / "results" / "small").iterdir()
    return found


def record(folder: Path, **changes: Any) -> None:
    """Change the record of a run."""
    path = folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def replays(run: Path) -> list[Path]:
    return sorted(run.parent.glob("*-replay"))


def test_the_rows_are_the_same_bytes(run: Path) -> None:
    done = bench("run", "--replay", "small")
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith(f"the rows are the same bytes as those of {Path('results', 'small', run.name)}\n")
    (again,) = replays(run)
    before, now = RunResults(run).run, RunResults(again).run
    assert now.replay_of == run.name
    assert now.digest == before.digest
    assert now.timeout_s == before.timeout_s == 1200
    assert now.suite == before.suite
    assert now.counts.computed > 0
    rows = {name: digest for name, digest in before.files.items() if name.startswith("samples/")}
    assert len(rows) >= 3
    assert rows.items() <= now.files.items()
    assert not (run.parent.parent / ".replay").exists()
    assert not (run.parent.parent / ".cache").exists()


def test_a_replay_of_a_replay_is_one_of_the_run(run: Path) -> None:
    assert bench("run", "--replay", run).exit_code == 0
    (first,) = replays(run)
    done = bench("run", "--replay", first)
    assert f"as those of {first.parent / run.name}" in done.stdout
    assert all(RunResults(folder).run.replay_of == run.name for folder in replays(run))


def test_the_original_is_never_taken_for_its_replay(run: Path) -> None:
    (run.parent.parent.parent / "small.toml").write_text(SUITE.replace('claims = "figures.csv"\n', ""))
    bench("run", "--replay", "small")
    done = bench("run", "--no-report", "small.toml", "--device", "cpu", "--pairs", 6, "--set", "suite.seed=7")
    assert f"rows:   {Path('results', 'small', run.name)}\n" in done.stdout


def test_other_rows_are_counted(run: Path) -> None:
    path = next((run / "samples" / "verification").rglob("*.parquet"))
    table = pq.read_table(path, partitioning=None)
    column = table.column_names.index("cos_self")
    changed = [value + 1 if i in (3, 5) else value for i, value in enumerate(table["cos_self"].to_pylist())]
    pq.write_table(table.set_column(column, table.schema.field(column), [changed]), path)
    files = RunResults(run).run.files
    name = path.relative_to(run).as_posix()
    done = bench("run", "--replay", "small")
    assert done.exit_code == 0, "the record says which bytes were written, whatever has become of them"
    record(run, files={**files, name: provenance.file_sha256(path)})
    done = bench("run", "--replay", "small")
    assert done.exit_code == 1
    assert f"verification: 2 of {table.num_rows} rows differ\n" in done.stdout
    assert "images" not in done.stdout
    record(run, files={**files, name: "0" * 64})
    path.unlink()
    done = bench("run", "--replay", "small")
    assert f"verification: {table.num_rows} of {table.num_rows} rows differ (" in done.stdout
    assert f"has been changed since it was written: {name})" in done.stdout


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TOY_DATA": "other"}, [r"dataset toy-faces: data: [0-9a-f]{12} -> [0-9a-f]{12}"]),
        ({"TOY_PHOTOS": "photos"}, [r"dataset photos: .*toy-photos"]),
        ({"TOY_WEIGHTS": "weights"}, [r"model toy-b: weights: [0-9a-f]{12} -> [0-9a-f]{12}"]),
        ({"TOY_WEIGHTS": "nowhere"}, ["the toy weights are missing"]),
    ],
)
def test_other_data_and_weights_are_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str], expected: list[str]
) -> None:
    import bench_toy

    home = run.parent.parent.parent
    for folder in ("photos", "weights"):
        (home / folder).mkdir()
    (home / "photos" / "toys.txt").write_text("photos")
    shutil.copy(Path(bench_toy.__file__).parent / "toy-a.json", home / "weights")
    (home / "weights" / "toy-b.json").write_text('{"seed": 77}')
    for name, value in environment.items():
        monkeypatch.setenv(name, str(home / value) if (home / value).is_dir() or value == "nowhere" else value)
    done = bench("run", "--replay", "small")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "since it was made this has changed (recorded -> now):\n" in done.stderr
    for text in expected:
        assert re.search(text, done.stderr), done.stderr
    assert replays(run) == []


def test_other_code_packages_and_devices_are_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = asdict(RunResults(run).run)
    components = [
        {**c, "origin": {**c["origin"], "digest": "0" * 64, "version": "0.0"}} if c["name"] == "toy-faces" else c
        for c in before["components"]
    ]
    versions = {**before["versions"], "numpy": "0.1", "pandas": "0.1", "pyarrow": "0.1"}
    host = {**before["host"], "stages/scoring.py": "1" * 64, "gone.py": "2" * 64}
    record(run, components=components, versions=versions, host=host, lpips={"sha256": "3" * 64, "reason": None})
    done = bench("run", "--replay", "small")
    assert done.exit_code == 2
    for text in (
        "code of bench/stages/scoring.py: 111111111111 -> ",
        "code of bench/gone.py: 222222222222 -> none",
        "version of numpy: 0.1 -> ",
        "version of pyarrow: 0.1 -> ",
        "weights of LPIPS: 333333333333 -> none",
        "code of plugin bench_toy (bench-toy-plugin): 000000000000 -> ",
        "version of plugin bench_toy (bench-toy-plugin): 0.0 -> 0.1.0",
    ):
        assert done.stderr.count(text) == 1, (text, done.stderr)
    assert "pandas" not in done.stderr
    assert "compute.py" not in done.stderr


def test_the_versions_of_now_are_those_installed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {**provenance.package_versions(), "torch": "9.9"}
    monkeypatch.setattr("bench.runs.replan.package_versions", lambda: versions)
    monkeypatch.setattr("bench.runs.replan.device_name", lambda device: "another GPU")
    with pytest.raises(ReplayError, match=r"version of torch: .* -> 9\.9"):
        prepare(run)
    record(run, device="cuda", device_name="a GPU")
    with pytest.raises(ReplayError, match="device cuda: a GPU -> another GPU"):
        prepare(run)


def prepare(run: Path) -> None:
    """As the command does, and nothing more."""
    folders = Folders(out=run.parent.parent.parent)
    with replay.prepared(run, folders, discovery.discover()):
        pass


def test_a_plan_that_bench_makes_otherwise_is_refused(run: Path) -> None:
    record(run, digest="f" * 64)
    with pytest.raises(ReplayError, match=r"the plan that bench makes of the suite: ffffffffffff -> [0-9a-f]{12}"):
        prepare(run)


@pytest.mark.parametrize("status", ["running", "interrupted"])
def test_only_what_has_ended_is_made_again(run: Path, status: str) -> None:
    record(run, status=status)
    with pytest.raises(ReplayError, match=rf"only a run that has ended is made again, this one is {status}; end it: "):
        prepare(run)


def test_a_record_of_an_earlier_bench_is_refused(run: Path) -> None:
    old = json.loads((run / "run.json").read_text())
    del old["host"]
    (run / "run.json").write_text(json.dumps(old))
    with pytest.raises(ReplayError, match="lacks its host; it was written by an earlier bench"):
        prepare(run)


@pytest.mark.parametrize("broken", [{"raw": {}}, {"raw": {"suite": 3}}, {"experiments": []}])
def test_a_record_that_was_spoilt_is_refused(run: Path, broken: Mapping[str, Any]) -> None:
    record(run, suite={**asdict(RunResults(run).run.suite), **broken})
    with pytest.raises(ReplayError, match="the suite in its record cannot be read"):
        prepare(run)


def test_one_replay_at_a_time(run: Path) -> None:
    place = run.parent.parent / ".replay" / f"{RunResults(run).run.digest[:8]}.lock"
    place.parent.mkdir()
    with FileLock(place), pytest.raises(ReplayError, match="is being replayed just now"):
        prepare(run)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["small.toml"], "SUITE"),
        (["--pairs", "4"], "--pairs"),
        (["--set", "suite.seed=1", "--fresh"], "--set and --fresh"),
        (["--device", "cpu", "--data", "auto", "--no-retry"], "--device and --data and --no-retry"),
        (["--include-faces"], "--include-faces"),
    ],
)
def test_what_the_record_says_is_not_said_again(run: Path, more: list[str], words: str) -> None:
    done = bench("run", "--replay", "small", *more)
    assert done.exit_code == 2
    assert f"--replay makes a run again as it was; remove {words}\n" in done.stderr


def test_an_interrupted_replay_goes_on(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submit = InlineWorkers.submit
    computed: list[str] = []

    def interrupted(self: InlineWorkers, stage: Stage, batch: int) -> Any:
        computed.append(stage.name)
        if len(computed) == 8:
            os.kill(os.getpid(), 2)
        return submit(self, stage, batch)

    monkeypatch.setattr(InlineWorkers, "submit", interrupted)
    done = bench("run", "--replay", "small")
    assert done.exit_code == 130
    (again,) = replays(run)
    assert RunResults(again).run.status == "interrupted"
    done = bench("run", "--replay", "small")
    assert done.exit_code == 0, done.output
    assert replays(run) == [again]
    twice = {name for name in computed if computed.count(name) > 1}
    assert twice <= {"toy-faces protected by toy-flaky", "photos protected by toy-flaky"}, "a stage was computed again"


def test_another_processor_is_a_note(run: Path) -> None:
    record(run, machine={**asdict(RunResults(run).run.machine), "processor": "Abacus"})
    done = bench("run", "--replay", "small")
    assert done.exit_code == 0
    assert "note: recorded on Abacus, this is" in done.stderr


def test_a_suite_is_restored_without_its_files(run: Path, registry: Registry) -> None:
    suite = restore(RunResults(run).run.suite, registry)
    (experiment,) = suite.experiments
    assert (suite.seed, experiment.pairs, suite.name) == (7, 6, "small")
    assert experiment.claims
    assert experiment.table == "VII"


def test_touched_code_is_refused(
    tmp_path: Path, sites_of_their_own: Callable[[Path], Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest of a plugin's sources, helpers included, as it is found anew."""
    site = tmp_path / "site"
    code = "from bench import hookimpl\nfrom bench_noise import Noise\n@hookimpl\ndef bench_defenses():\n"
    write_plugin(site, "plugin_touched", code + "    return {'touched': Noise}\n")
    before = sites_of_their_own(site).find("defense", "touched", "here").origin
    write_plugin_again(site / "plugin_touched.py")
    now = sites_of_their_own(site)
    about = ComponentRecord(kind="defense", name="touched", label="touched", origin=OriginRecord(**vars(before)))
    record = RunRecord(
        suite=SuiteRecord(name="touched"),
        host=provenance.host_digests(),
        versions=provenance.package_versions(),
        device="cpu",
        components=[about],
    )
    found = list(changes_around(record, now))
    assert len(found) == 1
    assert found[0].startswith("code of plugin plugin_touched (plugin-touched): ")


DECLARES = """
from dataclasses import dataclass
from bench import Defense, hookimpl

@dataclass(frozen=True, kw_only=True)
class Mine(Defense):
    library: str = "author_absent"

    @property
    def libraries(self):
        return (self.library,)

    def protect(self, images, ctx):
        raise NotImplementedError

@hookimpl
def bench_defenses():
    return {"mine": Mine}
"""


@pytest.mark.parametrize(("library", "expected"), [("json", []), ("author_absent", ["found no 'author_absent'"])])
def test_libraries_that_depend_on_parameters_are_compared(
    library: str, expected: list[str], tmp_path: Path, sites_of_their_own: Callable[[Path], Registry]
) -> None:
    write_plugin(tmp_path, "plugin_declares", DECLARES)
    registry = sites_of_their_own(tmp_path)
    origin = asdict(registry.components["defense", "mine"].origin)
    libraries = {"libraries": {library: sources.library_digest("json", "")}}
    about = ComponentRecord(
        kind="defense",
        name="mine",
        label="mine",
        params={"library": library},
        origin=OriginRecord(**{**origin, **libraries}),
    )
    found = list(changes_of_code(about, registry))
    assert len(found) == len(expected)
    assert all(part in line for part, line in zip(expected, found, strict=True))


def write_plugin_again(path: Path) -> None:
    """Touch a source."""
    with path.open("a") as file:
        file.write("# touched\n")
