"""Protections by a program outside of bench, and pictures that somebody else has protected."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench_external import ExternalCommand, ExternalImages, bench_defenses
from PIL import Image

from bench import ContractError, DataError, MissingDataError, SuiteError, instantiate
from bench.api.context import Context
from bench.core.errors import UntrustedError
from bench.registry.components import effective_parameters
from bench.registry.discovery import Registry
from bench.registry.sources import declared_files, declared_programs
from bench.stages.contracts import protect_checked
from bench.suite.suite import load

# Whole 8-bit levels, so that a PNG changes nothing.
FACES = torch.randint(0, 256, (3, 3, 6, 8), generator=torch.Generator().manual_seed(1)) / 255
EACH = "import sys, os, shutil\ngiven, made = sys.argv[1:3]\nfor name in sorted(os.listdir(given)):\n"


def _context(ids: list[str]) -> Context:
    return Context(device=torch.device("cpu"), seed=7, sample_ids=ids, plugin="defense tried")


def _protected(defense: Any, images: torch.Tensor = FACES, ids: list[str] | None = None) -> torch.Tensor:
    out = protect_checked(defense, images, _context(ids or [str(row) for row in range(len(images))])).images
    assert out is not None
    return out


@pytest.fixture
def running(tmp_path: Path) -> Any:
    """A function from the source of a program to the defense that calls it."""

    def make(source: str, **params: Any) -> ExternalCommand:
        script = tmp_path / "program.py"
        script.write_text(source)
        return ExternalCommand(command=(sys.executable, "-P", "{files}", "{input}", "{output}"), files=script, **params)

    return make


def test_registration_without_torch() -> None:
    code = "import sys, bench_external as b; print(sorted(b.bench_defenses()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['external-command', 'external-images'] False"


def test_what_they_declare(running: Any, tmp_path: Path) -> None:
    assert set(bench_defenses()) == {"external-command", "external-images"}
    for defense in (running("", goal="appearance"), ExternalImages(folder=tmp_path, goal="appearance")):
        assert defense.goal == "appearance"
        assert defense.protects == {"probe", "gallery", "both"}
        assert all((defense.promise, defense.trusts, defense.not_promised))


# ---- the program


def test_a_program_that_copies_its_pictures(running: Any) -> None:
    copies = running(EACH + "    shutil.copy(f'{given}/{name}', f'{made}/{name}')")
    assert torch.equal(_protected(copies), FACES)


def test_a_face_does_not_depend_on_its_batch(running: Any) -> None:
    negative = running(
        "from PIL import Image, ImageOps\n"
        + EACH
        + "    ImageOps.invert(Image.open(f'{given}/{name}')).save(f'{made}/{name}')"
    )
    together = _protected(negative)
    assert torch.allclose(together, 1 - FACES, atol=1e-6)
    assert torch.equal(together[1:2], _protected(negative, FACES[1:2]))


def test_no_shell_reads_the_command(tmp_path: Path) -> None:
    target = tmp_path / "made"
    script = "import sys, shutil; shutil.copytree(sys.argv[1], sys.argv[2], dirs_exist_ok=True)"
    defense = ExternalCommand(
        command=(sys.executable, "-c", script, "{input}", "{output}", f"; touch {target}", "$HOME")
    )
    assert torch.equal(_protected(defense), FACES)
    assert not target.exists()


def test_the_program_runs_in_an_empty_folder_without_input(running: Any) -> None:
    checks = "import os, sys\nassert os.listdir('.') == [] and sys.stdin.read() == ''\n"
    assert torch.equal(_protected(running(checks + EACH + "    shutil.copy(f'{given}/{name}', made)")), FACES)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("raise SystemExit('no such weights')", r"expected it to end with 0, found 1. It printed: no such weights"),
        ("import os; os._exit(3)", "found 3. It printed nothing"),
        ("", r"expected 3 pictures in \{output\}.*; 3 are missing, such as 00000.png"),
        (EACH + "    shutil.copy(f'{given}/{name}', f'{made}/x{name}')", "nothing else, found 'x00"),
        (
            EACH + "    os.symlink(f'{given}/{name}', f'{made}/{name}')",
            "00000.png: expected a plain file that can be read, found a link",
        ),
        (EACH + "    os.mkdir(f'{made}/{name}')", "00000.png: expected a plain file"),
        (EACH + "    os.mkfifo(f'{made}/{name}')", "00000.png: expected a plain file"),
        (EACH + "    open(f'{made}/{name}', 'w').write('GIF89a')", "00000.png: expected a PNG file"),
        (EACH + "    open(f'{made}/{name}', 'wb').truncate(2 ** 33)", "a picture of at most 1,049,344 bytes"),
        (
            "from PIL import Image\n" + EACH + "    Image.new('RGB', (9, 6)).save(f'{made}/{name}')",
            "00000.png: expected a picture of 8 x 6 pixels, found 9 x 6",
        ),
        (
            "from PIL import Image\n" + EACH + "    Image.new('RGB', (8, 6)).save(f'{made}/{name}', 'JPEG')",
            "00000.png: expected a PNG file",
        ),
    ],
    ids=lambda text: text[-40:],
)
def test_what_a_program_may_do_wrong_is_one_error(running: Any, source: str, expected: str) -> None:
    with pytest.raises(ContractError, match=expected):
        _protected(running(source))


@pytest.mark.slow
def test_a_program_that_takes_too_long_ends_with_what_it_started(running: Any, tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    child = f"import time; time.sleep(3); open({str(alive)!r}, 'w')"
    source = f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {child!r}])\ntime.sleep(60)"
    started = time.monotonic()
    with pytest.raises(ContractError, match=r"expected it to end within 1 seconds; it did not, and was ended"):
        _protected(running(source, timeout_s=1.0))
    assert time.monotonic() - started < 20
    time.sleep(3)
    assert not alive.exists()


@pytest.mark.slow
def test_a_program_ends_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        "import os, sys, time\nprint(os.getpid(), sys.argv[1], file=open(sys.argv[3], 'w'))\ntime.sleep(60)"
    )
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import sys, torch\nfrom bench import Context\nfrom bench_external import ExternalCommand\n"
        "ctx = Context(device=torch.device('cpu'), seed=0, sample_ids=['a'])\n"
        "words = (sys.executable, '-P', sys.argv[1], '{input}', '{output}', sys.argv[2])\n"
        "ExternalCommand(command=words).protect(torch.zeros(1, 3, 4, 4), ctx)\n"
    )
    said = tmp_path / "said"
    with subprocess.Popen([sys.executable, "-P", str(worker), str(script), str(said)]) as running:
        until(lambda: said.exists() and said.read_text().endswith("\n"))
        running.kill()
    pid, given = said.read_text().split()
    until(lambda: not Path(f"/proc/{pid}").exists() and not Path(given).exists())


def until(true: Callable[[], bool]) -> None:
    """Wait until something is true, for a minute at most."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_what_it_prints_is_cut_and_made_harmless(running: Any) -> None:
    with pytest.raises(ContractError) as caught:
        _protected(running("print('x' * 10 ** 6, chr(27) + '[31m'); raise SystemExit(1)"))
    assert len(str(caught.value)) < 3000
    assert "\x1b" not in str(caught.value)


def test_a_program_that_does_not_exist_is_one_error() -> None:
    defense = ExternalCommand(command=("no-such-program-anywhere", "{input}", "{output}"))
    with pytest.raises(ContractError, match="no-such-program-anywhere: the program cannot be started"):
        _protected(defense)
    with pytest.raises(MissingDataError, match="'no-such-program-anywhere' was not found"):
        declared_programs(defense)


def test_program_and_files_decide_the_result(running: Any, tmp_path: Path) -> None:
    defense = running("")
    assert [path.name for path in declared_programs(defense)] == [Path(sys.executable).name, "sh"]
    assert [path for path, _ in declared_files(defense)] == [tmp_path / "program.py"]
    assert set(effective_parameters(defense)) == {"command", "files", "timeout_s", "goal"}


def test_a_suite_that_names_a_command_must_be_trusted(running: Any, tmp_path: Path, registry: Registry) -> None:
    assert running("").foreign_code().startswith(f"the program {sys.executable} -P ")
    suite = tmp_path / "suite.toml"
    suite.write_text(
        f"[suite]\nname = 'a'\ntitle = 'b'\nseed = 0\n[[experiment]]\nname = 'c'\ndatasets = ['toy-faces']\n"
        f"authorised = ['toy-a']\nevaluated = ['toy-b']\npairs = 20\ndefenses = [{{ plugin = 'external-command', "
        f"files = '{tmp_path / 'program.py'}', command = ['sh', '{{files}}', '{{input}}', '{{output}}'] }}]\n"
    )
    with pytest.raises(UntrustedError, match=r"experiment\[0\]\.defenses\[0\]: the program sh .* with /.*program\.py"):
        load(suite, registry)
    assert load(suite, registry, trust=True)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"command": []}, r"here\.command: .*at least 1 item"),
        ({"command": "run {input} {output}"}, r"here\.command: input should be a valid list"),
        ({"command": ["a", "{input}"]}, r"here: command: expected an argument with \{output\}"),
        ({"command": ["{input}", "{output}"]}, r"here: command: expected an argument with \{input\}"),
        ({"command": ["a", "{input}", "{output}"], "timeout_s": 0.0}, r"here\.timeout_s: input should be"),
        ({"command": ["a", "{input}", "{output}"], "goal": "template"}, r"here\.goal: input should be"),
        ({}, r"here\.command: expected a value"),
    ],
)
def test_a_wrong_parameter_is_one_error(params: dict[str, Any], expected: str) -> None:
    with pytest.raises(SuiteError, match=expected):
        instantiate(ExternalCommand, params, "here")


def test_files_are_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = instantiate(ExternalCommand, {"command": ["a", "{input}", "{output}"], "files": "net.onnx"}, "here")
    assert list(made.weights()) == [tmp_path / "net.onnx"]
    assert list(ExternalCommand(command=("a", "{input}", "{output}")).weights()) == []


# ---- the folder


def _save(path: Path, image: torch.Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.mul(255).round().byte().permute(1, 2, 0).numpy()).save(path)


def test_the_pictures_of_a_folder_by_the_names_of_samples(tmp_path: Path) -> None:
    ids = ["lfw/1/0", "b", "Zoë (pair 3)"]
    for name, image in zip(ids, FACES.flip(0), strict=True):
        _save(tmp_path / f"{name}.png", image)
    defense = ExternalImages(folder=tmp_path)
    assert torch.equal(_protected(defense, FACES, ids), FACES.flip(0))
    assert torch.equal(_protected(defense, FACES[1:2], ids[1:2]), FACES[1:2])
    assert len(declared_files(defense)) == 3


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"a\.png: this picture does not exist"):
        _protected(ExternalImages(folder=tmp_path), FACES[:1], ["a"])


@pytest.mark.parametrize("name", ["../a", "/a", "b/../../a", "a//b", "a/./b", "a\0b", "a\\b"])
def test_a_sample_whose_name_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    _save(tmp_path / "a.png", FACES[0])
    (tmp_path / "inside" / "b").mkdir(parents=True)
    with pytest.raises(DataError, match=r"inside: the sample .* has a name that cannot be a path"):
        _protected(ExternalImages(folder=tmp_path / "inside"), FACES[:1], [name])


def test_links_are_refused(tmp_path: Path) -> None:
    _save(tmp_path / "elsewhere" / "a.png", FACES[0])
    folder = tmp_path / "folder"
    folder.mkdir()
    os.symlink(tmp_path / "elsewhere" / "a.png", folder / "a.png")
    os.symlink(tmp_path / "elsewhere", folder / "sub")
    with pytest.raises(DataError, match="found a link; replace it by what it points to"):
        _protected(ExternalImages(folder=folder), FACES[:1], ["a"])
    with pytest.raises(DataError, match="expected a folder, found a link"):
        _protected(ExternalImages(folder=folder), FACES[:1], ["sub/a"])
    os.symlink(tmp_path / "elsewhere", tmp_path / "named")  # Whoever names the folder may name a link.
    assert torch.equal(_protected(ExternalImages(folder=tmp_path / "named"), FACES[:1], ["a"]), FACES[:1])


def test_grey_and_transparent_pictures_become_rgb(tmp_path: Path) -> None:
    Image.fromarray(np.full((6, 8), 51, np.uint8)).save(tmp_path / "grey.png")
    Image.new("RGBA", (8, 6), (51, 51, 51, 255)).save(tmp_path / "clear.png")
    out = _protected(ExternalImages(folder=tmp_path), FACES[:2], ["grey", "clear"])
    assert torch.allclose(out, torch.full_like(out, 0.2), atol=1e-6)


def test_the_folder_must_be_named() -> None:
    with pytest.raises(SuiteError, match=r"here\.folder: expected a value"):
        instantiate(ExternalImages, {}, "here")
