"""Every process that is started: by one module, and without importing what lies in the current folder."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_table import FaultTable
from support import TESTS, Command, environment

from bench.core.processes import python

ROOT = TESTS.parent
# The only modules that start processes. A plugin imports nothing of the host but its public modules, so that the ones
# that look at a network in a process that can be killed, or call a program that a suite names, start it on their own.
ALLOWED = {
    "bench/core/processes.py",
    "plugins/models/bench_facenets/checks/probe.py",
    "plugins/defenses/bench_external/command.py",
}
STARTING = {
    *(f"subprocess.{name}" for name in ("run", "call", "check_call", "check_output", "getoutput", "Popen")),
    "subprocess.getstatusoutput",
    *(f"os.{name}" for name in ("system", "popen", "fork", "forkpty", "posix_spawn", "posix_spawnp", "startfile")),
    *(f"os.{kind}{end}" for kind in ("exec", "spawn") for end in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")),
    *(f"multiprocessing.{name}" for name in ("Process", "Pool", "Manager", "get_context", "set_start_method")),
    "multiprocessing.set_executable",
    "concurrent.futures.ProcessPoolExecutor",
    "asyncio.create_subprocess_exec",
    "asyncio.create_subprocess_shell",
    "pty.spawn",
    "runpy.run_path",
    "torch.multiprocessing.spawn",
}


def sources() -> Iterator[Path]:
    """The modules of the host and of the plugins."""
    yield from (ROOT / "bench").rglob("*.py")
    yield from (ROOT / "plugins").rglob("*.py")


def full_names(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every dotted name in a module as its imports define it, with its line."""
    imported: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                imported[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else (alias.name.partition(".")[0])
                )
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                imported[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield f"{node.module}.{alias.name}", node.lineno
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            first, _, rest = text.partition(".")
            yield f"{imported.get(first, first)}.{rest}", node.lineno


def starts(path: Path) -> list[int]:
    """The lines of a module that start a process."""
    return [line for name, line in full_names(ast.parse(path.read_text(encoding="utf-8"))) if name in STARTING]


def test_one_module_starts_processes() -> None:
    found = {path.relative_to(ROOT).as_posix(): lines for path in sources() if (lines := starts(path))}
    assert "bench/core/processes.py" in found
    assert set(found) <= ALLOWED, found


def test_the_search_finds_a_process_however_it_is_imported(tmp_path: Path) -> None:
    for text in (
        "import subprocess\nsubprocess.Popen(['ls'])",
        "import subprocess as s\ns.run(['ls'])",
        "from subprocess import run\nrun(['ls'])",
        "from os import system as go\ngo('ls')",
        "import os\nos.execv('/bin/ls', [])",
        "import multiprocessing as mp\nmp.get_context('spawn')",
        "from concurrent.futures import ProcessPoolExecutor",
        "import concurrent.futures\nconcurrent.futures.ProcessPoolExecutor()",
    ):
        (tmp_path / "module.py").write_text(text)
        assert starts(tmp_path / "module.py"), text
    (tmp_path / "module.py").write_text("import subprocess\ntry: ...\nexcept subprocess.TimeoutExpired: ...")
    assert starts(tmp_path / "module.py") == []


def test_python_is_never_started_without_its_safe_path() -> None:
    """Wherever a command names the interpreter, ``-P`` comes next."""
    for path in sources():
        if path.relative_to(ROOT).as_posix() in ALLOWED:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.List) and node.elts and ast.unparse(node.elts[0]) == "sys.executable":
                    assert ast.unparse(node.elts[1]) == "'-P'", f"{path}:{node.lineno}"
    assert python("-c", "pass") == [sys.executable, "-P", "-c", "pass"]


# ---- files of the current folder -------------------------------------------------------------------------------------

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


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A folder with a file for each module of the standard library and of some packages; each notes that it was run."""
    folder = tmp_path / "trap"
    folder.mkdir()
    others = {"torch", "numpy", "click", "rich", "psutil", "filelock", "bench", "bench_toy", "ray", "sitecustomize"}
    note = f"open({str(tmp_path / 'ran')!r}, 'a').write(__name__ + ' ')\nraise SystemExit(3)\n"
    for name in {*sys.stdlib_module_names, *others} - {"sys", "builtins"}:
        (folder / f"{name}.py").write_text(note)
    (tmp_path / "tiny.toml").write_text(TINY)
    return folder


def assert_nothing_ran(table: FaultTable, trap: Path) -> None:
    ran = trap.parent / "ran"
    names = ran.read_text().split() if ran.exists() else []
    table.add("files of the current folder with names of modules", times=len(list(trap.iterdir())), ran=len(names))
    assert names == []


# What Python imports for its option -m before it has loaded anything of bench, and `__future__`.
FOR_THE_OPTION = {"importlib", "warnings", "contextlib", "functools", "types", "__future__"}
FOR_THE_OPTION |= {"collections", "keyword", "operator", "reprlib"}


@pytest.mark.parametrize("options", [["-m", "bench"], ["-u", "-mbench"], ["-W", "ignore", "-um", "bench"]], ids=str)
def test_python_m_bench_runs_no_file_of_the_current_folder(
    fault_table: FaultTable, trap: Path, options: list[str]
) -> None:
    for name in (*FOR_THE_OPTION, "bench"):
        (trap / f"{name}.py").unlink()
    done = subprocess.run(
        [sys.executable, *options, "plan", str(trap.parent / "tiny.toml"), "--set", "suite.name=5"],
        cwd=trap,
        env=environment([], {}),
        capture_output=True,
        text=True,
    )
    assert_nothing_ran(fault_table, trap)
    assert (done.returncode, done.stdout) == (2, "")
    assert "suite.name: input should be a valid string, found 5" in done.stderr


@pytest.mark.parametrize("words", [["-m", "other"], ["-c", "import other"], ["other.py"]], ids=str)
def test_other_programs_import_from_where_python_does(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "other.py").write_text("import bench, beside")
    (tmp_path / "beside.py").write_text("print('beside')")
    done = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, env=environment([], {}), capture_output=True, text=True
    )
    assert done.stdout == "beside\n"


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_no_file_of_the_current_folder_is_run(bench: Command, fault_table: FaultTable, trap: Path, engine: str) -> None:
    if engine == "ray":
        pytest.importorskip("ray")
    options = ("--device", "cpu", "--workers", 1, "--engine", engine, "--out", trap.parent / "out")
    done = bench("run", trap.parent / "tiny.toml", "--no-report", *options, cwd=trap)
    assert_nothing_ran(fault_table, trap)
    assert done.code == 0, done.err


@pytest.mark.slow
def test_no_file_of_the_current_folder_is_run_when_a_worker_is_replaced(
    bench: Command, fault_table: FaultTable, trap: Path, tmp_path: Path
) -> None:
    """The temporary folder has a long path, so that workers are started from nothing, one after the other."""
    long = tmp_path / ("x" * 90)
    long.mkdir()
    options = ("--device", "cpu", "--workers", 2, "--out", tmp_path / "out")
    done = bench("run", tmp_path / "tiny.toml", "--no-report", *options, cwd=trap, env={"TMPDIR": str(long)})
    assert_nothing_ran(fault_table, trap)
    assert done.code == 0, done.err


@pytest.mark.slow
def test_the_search_for_a_cluster_runs_no_file_of_the_current_folder(
    bench: Command, fault_table: FaultTable, trap: Path
) -> None:
    pytest.importorskip("ray")
    done = bench("run", trap.parent / "tiny.toml", "--engine", "ray", "--address", "auto", cwd=trap)
    assert_nothing_ran(fault_table, trap)
    assert done.code == 2
