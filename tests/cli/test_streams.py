"""Where bench cannot print, does not know its user, or has no current folder."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from support import BENCH, environment

from bench.cli.streams import _UnreadStream
from bench.core import processes
from bench.store.journal import Journal


class Failing(io.StringIO):
    """A stream that fails with an error as long as it is set."""

    number: int | None = None
    terminal = False

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        if self.number is not None:
            raise OSError(self.number, os.strerror(self.number))
        return super().write(text)


@pytest.fixture
def discarded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The streams that were pointed to the null device."""
    found: list[object] = []
    monkeypatch.setattr("bench.cli.streams.discard", found.append)
    return found


def test_what_somebody_reads_is_written(discarded: list[object]) -> None:
    stream = Failing()
    assert _UnreadStream(stream, optional=False).write("text") == 4
    assert stream.getvalue() == "text"
    assert discarded == []


@pytest.mark.parametrize(
    ("number", "optional", "terminal", "goes_on"),
    [
        (errno.EPIPE, False, False, True),
        (errno.EIO, False, True, True),  # a terminal that was closed
        (errno.EIO, False, False, False),  # a disk
        (errno.ENOSPC, False, False, False),
        (errno.ENOSPC, True, False, True),  # a log
    ],
)
def test_a_stream_that_nobody_reads_is_discarded(
    discarded: list[object], number: int, optional: bool, terminal: bool, goes_on: bool
) -> None:
    stream = Failing()
    stream.number, stream.terminal = number, terminal
    unread = _UnreadStream(stream, optional=optional)
    if goes_on:
        assert unread.write("text") == 4
        assert discarded == [stream]
    else:
        with pytest.raises(OSError, match=os.strerror(number)):
            unread.write("text")


TINY = """\
[suite]
name = "tiny"
[[experiment]]
name = "one"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a"]
defenses = ["identity"]
pairs = 4
"""


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["<&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_run_without_streams_does_its_work(tmp_path: Path, toy_site: Path, closed: str) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    command = f"{BENCH} run tiny.toml --no-report --device cpu --workers 1 {closed}; echo code $? >&3"
    done = subprocess.run(
        ["bash", "-c", f"exec 3>&1; {command}"],
        cwd=tmp_path,
        env=environment([toy_site], {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "code 0" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert len(list((tmp_path / "results" / "tiny").glob("*/cells.parquet"))) == 1


@pytest.mark.slow
def test_an_error_that_nobody_reads_still_has_its_exit_code(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run([str(BENCH), "report", "nothing"], cwd=tmp_path, stderr=writing, check=False)
    finally:
        os.close(writing)
    assert done.returncode == 2


@pytest.mark.slow
def test_streams_are_closed_by_number_and_none_is_taken_by_a_file() -> None:
    code = "import bench.cli, os, sys; os.write(3, str([os.fstat(i).st_rdev for i in range(3)]).encode())"
    command = f"exec 3>&1; {sys.executable} -P -c '{code}' <&- >&- 2>&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout == str([os.stat(os.devnull).st_rdev] * 3), done.stderr


# ---- the process -----------------------------------------------------------------------------------------------------


def only_error(command: str, cwd: Path) -> str:
    """The only line that a command prints, which ends with exit code 2."""
    done = subprocess.run(["bash", "-c", command], cwd=cwd, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.slow
@pytest.mark.parametrize("command", ["plan quick", "run quick", "init mine", "runs ls", "report quick", "status"])
def test_a_current_folder_that_was_removed_is_one_error(tmp_path: Path, command: str) -> None:
    (tmp_path / "gone").mkdir()
    line = only_error(f"cd gone; rmdir ../gone; {BENCH} {command}", tmp_path)
    assert line.startswith("Error: the current folder: expected one that exists, found that it was removed")
    assert line.endswith("change to another one with cd")


@pytest.mark.slow
def test_python_without_documentation_strings_is_one_error(tmp_path: Path) -> None:
    line = only_error(f"{sys.executable} -P -OO -m bench plan quick", tmp_path)
    assert line.startswith("Error: python -OO: expected documentation strings")
    done = subprocess.run([sys.executable, "-P", "-O", "-m", "bench", "plan", "quick"], cwd=tmp_path, check=False)
    assert done.returncode == 0


@pytest.mark.slow
def test_workers_of_bench_as_a_module_import_nothing_from_the_current_folder(tmp_path: Path, toy_site: Path) -> None:
    """Python itself looks there for what it needs before bench begins, which torch does not belong to."""
    (tmp_path / "tiny.toml").write_text(TINY)
    (tmp_path / "torch.py").write_text("raise SystemExit('run')")
    command = [sys.executable, "-m", "bench", "run", "tiny.toml", "--no-report", "--device", "cpu", "--workers", "1"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment([toy_site], {}), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("before", [{}, {"HOME": "/home/me", "USER": "me"}])
def test_a_user_whom_the_system_does_not_know_has_a_home(
    monkeypatch: pytest.MonkeyPatch, before: Mapping[str, str]
) -> None:
    for name in ("HOME", "USER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    processes.name_user()
    expected = before or {"HOME": "/", "USER": "4000000000"}
    assert {name: os.environ[name] for name in expected} == expected
    assert str(Path.home()) == expected["HOME"]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root can become another user")
def test_a_user_whom_the_system_does_not_know_can_plan() -> None:
    """He reads what root may read, since Python may be installed in the home folder of root."""
    may = ["setpriv", "--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    who = ["--reuid", "4242", "--regid", "4242", "--clear-groups"]
    nameless = ["env", *(word for name in ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME") for word in ("-u", name))]
    if subprocess.run([*may, *who, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs permission to become another user")
    with tempfile.TemporaryDirectory() as folder:  # That of the test is closed to others.
        os.chmod(folder, 0o777)
        command = [*may, *who, *nameless, str(BENCH), "plan", "quick"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "to compute" in done.stdout


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_the_umask_decides_who_may_continue_a_run(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        with Journal(tmp_path / "results" / "toy" / "run") as journal:
            journal.write("run-ended")
        assert journal.path.stat().st_mode & 0o777 == mode
    finally:
        os.umask(before)
