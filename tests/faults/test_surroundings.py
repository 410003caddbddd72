"""What happens around a run: an emptied temporary folder, other containers, clocks that jump, readers that end."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_table import FaultTable
from injecting import Lab, Tally, computed
from processes import PATIENCE, wait_until, workers_of
from stranger import GOLDEN, files_of
from support import BENCH, environment


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A temporary folder with a short path, as that of a system."""
    folder = Path(tempfile.mkdtemp(prefix="bench-t-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("how", ["emptied", "removed"])
def test_the_temporary_folder_is_cleaned(
    gated: Lab, tally: Tally, tmp_path: Path, temporary: Path, full: bool, how: str
) -> None:
    """Running workers go on, and workers that die afterwards are replaced."""
    if not full and how != "emptied":
        pytest.skip("part of the full suite")
    lab, gate = gated, tmp_path / "gate"
    running = lab.start("--workers", 2, env={"TOY_GATE": str(gate), "TMPDIR": str(temporary)})
    wait_until(Path(f"{gate}.reached").exists, "the gate")
    for path in list(temporary.iterdir()):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if how == "removed":
        temporary.rmdir()
    Path(f"{gate}.reached").unlink()
    for worker in workers_of(running.process.pid):
        os.kill(worker.pid, signal.SIGKILL)
    wait_until(Path(f"{gate}.reached").exists, "the worker to be replaced")
    gate.touch()
    code, _, err = running.end()
    assert code == 0, err
    tally.compare(f"the temporary folder is {how}", 1, lab.folder, lab.reference.folder)


def test_the_logs_are_removed(gated: Lab, tally: Tally, tmp_path: Path) -> None:
    lab, gate = gated, tmp_path / "gate"
    running = lab.start("--workers", 1, env={"TOY_GATE": str(gate)})
    wait_until(Path(f"{gate}.reached").exists, "the gate")
    shutil.rmtree(lab.folder / "logs")
    gate.touch()
    code, _, err = running.end()
    assert code == 0, err
    assert not list((lab.out / "results" / ".cache").glob("logs/*")), "they are removed again"
    tally.compare("the logs of a run are removed", 1, lab.folder, lab.reference.folder)


# ---- containers ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def containers() -> Iterator[list[subprocess.Popen[str]]]:
    """A list of runs in containers; those that a failed test leaves are ended."""
    started: list[subprocess.Popen[str]] = []
    try:
        yield started
    finally:
        for process in started:
            process.kill()  # The first process of a container takes all others with it.
            process.communicate()


def isolated(lab: Lab, toy_site: Path, *options: object, env: dict[str, str]) -> subprocess.Popen[str]:
    """Start a run with process ids of its own, as in a container."""
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs permission to make a namespace of process ids")
    return subprocess.Popen(
        [*unshare, str(BENCH), *map(str, lab.command(*options))],
        env=environment([toy_site], {**lab.reference.env, **env}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_containers_share_a_cache_and_a_temporary_folder(
    gated: Lab, tally: Tally, toy_site: Path, tmp_path: Path, temporary: Path
) -> None:
    """The process of the first has an id that means nothing to the second, which must not take it for dead."""
    lab, gate = gated, tmp_path / "gate"
    variables = {"TOY_GATE": str(gate), "TMPDIR": str(temporary)}
    with containers() as runs:
        runs.append(isolated(lab, toy_site, "--workers", 1, env=variables))
        wait_until(Path(f"{gate}.reached").exists, "the gate")
        runs.append(isolated(lab, toy_site, "--workers", 1, env=variables))
        wait_until(lambda: sum(e["event"] == "planned" for e in lab.events()) == 2, "the second to begin")
        logs = next(lab.out.glob("results/*/*/logs"))
        wait_until(lambda: len(list(logs.iterdir())) == 2, "logs of its own, which come after the plan")
        assert lab.bench("status", "--out", lab.out).out.count("running") >= 1
        gate.touch()
        for run in runs:
            _, err = run.communicate(timeout=PATIENCE)
            assert run.returncode == 0, err
            assert "Traceback" not in err
    assert max(computed(lab.events()).values()) == 1, "a stage was computed twice"
    assert [e for e in lab.events() if e["event"] == "stage-finished" and e["status"] != "ok"] == []
    tally.compare("two containers with one cache and one temporary folder", 1, lab.folder, lab.reference.folder)


# ---- clocks ----------------------------------------------------------------------------------------------------------

JUMPING = """
import random, time
real, real_monotonic = time.time, time.monotonic
dice, begun = random.Random(5), real_monotonic()
jumps = [dice.choice([-1, 1, 2]) * dice.uniform(60, 7 * 86400) for _ in range(10_000)]

def jumping():
    return real() + jumps[int(2 * (real_monotonic() - begun)) % len(jumps)]  # twice a second

def suspended():
    now = real_monotonic()
    return now + 3600 * int(now - begun)  # an hour of sleep after each second

time.time = jumping
if SUSPENDED:
    time.monotonic = suspended
"""


@pytest.mark.parametrize("suspended", [False, True])
def test_a_clock_that_jumps_ends_no_stage(
    lab: Lab, tally: Tally, toy_site: Path, tmp_path: Path, stage_limit: int, suspended: bool
) -> None:
    """All processes of the run see a clock that jumps by up to two weeks, or one that counts hours of suspension."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(JUMPING.replace("SUSPENDED", str(suspended)))
    sites = os.pathsep.join(map(str, (tmp_path / "site", toy_site)))
    done = lab.run("--workers", 2, "--timeout", stage_limit, env={"PYTHONPATH": sites})
    assert done.code == 0, done.err
    what = "hours of suspension" if suspended else "a clock that jumps by weeks"
    tally.compare(what, 1, lab.folder, lab.reference.folder)


# ---- readers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_readers_of_a_run_end(gated: Lab, tally: Tally, tmp_path: Path, full: bool, form: str) -> None:
    """``bench run | head`` and a reader of the log that ends: the run goes on in silence."""
    if not full and form != "json":
        pytest.skip("part of the full suite")
    lab, gate = gated, tmp_path / "gate"
    running = lab.start("--workers", 1, "--log-format", form, env={"TOY_GATE": str(gate)})
    wait_until(Path(f"{gate}.reached").exists, "the gate")
    for pipe in (running.process.stdout, running.process.stderr):
        assert pipe is not None
        pipe.close()
    gate.touch()
    assert running.process.wait(PATIENCE) == 0
    assert lab.record["status"] == "complete"
    tally.compare("the readers of stdout and stderr end", 1, lab.folder, lab.reference.folder)


@pytest.mark.parametrize("words", [["export", "RUN", "--figure", "noise", "-o", "figure.svg"], ["report", "RUN"]])
def test_little_address_space(fault_table: FaultTable, tmp_path: Path, words: list[str]) -> None:
    """Charts are drawn by a program that reserves much address space and ends its process if it gets none."""
    run = tmp_path / "results" / "golden" / "20260101-000000-12345678"
    shutil.copytree(GOLDEN, run)
    (tmp_path / "figure.svg").write_text("as before")
    before = files_of(tmp_path)
    limited = ["sh", "-c", 'ulimit -v 8000000 && exec "$@"', "sh", str(BENCH)]
    found = environment([], {"XDG_CACHE_HOME": str(tmp_path / "no" / "cache"), "OMP_NUM_THREADS": "1"})
    done = subprocess.run(
        [*limited, *(str(run) if word == "RUN" else word for word in words)],
        cwd=tmp_path,
        env=found,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        r"Error: .*: the process that draws charts \(vl-convert\) failed: it ended with the signal SIGTRAP\. "
        r"It reserves far more address space than it uses, and ulimit -v allows 7,812 MB: repeat the command "
        r"after ulimit -v unlimited\n",
        done.stderr,
    )
    left = files_of(tmp_path)
    fault_table.add("little address space", times=1, outside=len(left.keys() - before.keys()))
    assert left == before
