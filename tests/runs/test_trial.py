"""``bench try``: one component on one face, in this process."""

from __future__ import annotations

import bdb
import os
import re
import shlex
import subprocess
import sys
import tomllib
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from bench.cli import main
from bench.core import errors
from bench.core.cache_folder import cache_folder
from bench.metrics.images import psnr, ssim
from bench.registry.discovery import Registry
from bench.runs.trial.faces import picture_face
from bench.runs.trial.setting import called, in_suite
from bench.suite.added_defenses import parse_reference

SETTING = """\
[suite]
name = "try"

[[experiment]]
name = "one-face"
datasets = ["toy-faces"]
authorised = ["toy-a"]
surrogates = []
evaluated = ["toy-a", "toy-b"]
defenses = ["identity"]
attacks = ["abuse"]
pairs = 8
fmr = 0.05
"""
SIZE, LARGE, GAP = 32, 96, 8  # of a toy face, enlarged in the picture, and between two faces

Try = Callable[..., Result]


@pytest.fixture
def trying(toy_installed: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Try:
    """Return a function that calls ``bench try`` with the toy plugin and toy faces, in an empty folder."""
    (tmp_path / "setting.toml").write_text(SETTING)
    monkeypatch.setattr("bench.runs.trial.setting._SUITE", tmp_path / "setting.toml")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*args: object, **more: Any) -> Result:
        command = ["try", *map(str, args), "--device", "cpu"]
        return CliRunner().invoke(main, command, prog_name="bench", catch_exceptions=False, **more)

    return call


def faces_of(path: Path) -> list[np.ndarray[Any, Any]]:
    """Return the faces ``(3, h, w)`` in a picture, in their first size."""
    drawn = np.asarray(Image.open(path)).transpose(2, 0, 1)
    assert drawn.shape[1] == LARGE
    starts = range(0, drawn.shape[2], LARGE + GAP)
    return [drawn[:, 1::3, start + 1 : start + LARGE : 3] for start in starts]


def table_of(output: str) -> Mapping[str, list[str]]:
    """Return the rows of what judges say, by judge."""
    rows = [re.split(r" {2,}", line.strip()) for line in output.splitlines()]
    first = next(i for i, row in enumerate(rows) if row[0] == "judge")
    return {row[0]: row[1:] for row in rows[first + 1 :] if len(row) == len(rows[first])}


def test_a_defense_is_judged_and_shown(trying: Try) -> None:
    done = trying("toy-mean,weight=0.25")
    assert done.exit_code == 0, done.stderr
    found = table_of(done.stdout)
    assert {judge: row[0] for judge, row in found.items()} == {"toy-a": "authorised", "toy-b": "held out"}
    for _, cosine, threshold, match in found.values():
        assert -1 <= float(threshold) < 1
        assert match == ("yes" if float(cosine) > float(threshold) else "no")
    assert "3,120 pairs of different people match, whom 40 calibration people form" in done.stdout
    original, protected, difference = faces_of(Path("try-toy-mean.png"))
    np.testing.assert_array_equal(difference, np.abs(original.astype(int) - protected))
    assert f"SSIM {ssim(original[None], protected[None])[0]:.3f}" in done.stdout
    assert f"PSNR {psnr(original[None], protected[None])[0]:.1f} dB" in done.stdout
    moved = float(re.findall(r"moved: (\S+)", done.stdout)[0])
    assert moved == pytest.approx(difference.mean() / 255, abs=2e-3)
    assert "One face proves nothing" in done.stdout
    assert "at most 5 % of" in done.stdout
    assert done.stdout.endswith("bench run standard --defense toy-mean,weight=0.25\n")


@pytest.mark.parametrize(
    "value",
    [
        True,
        3,
        -1e-05,
        "plain",
        "true",
        'it\'s 5, "six", [seven',
        "ends in \\",
        '\\"\n\x7f\tü',
        [1, 2.5, "a,b"],
        {"a key": {"b": [False]}, "": "x" * 200},
    ],
)
def test_the_command_that_measures_can_be_pasted(value: object) -> None:
    table = {"plugin": "toy-mean", "parameter": value, "other": 1}
    pasted = shlex.split(shlex.quote(called(table)))
    assert [parse_reference(text, "--defense") for text in pasted] == [table]
    assert tomllib.loads(f"defenses = [{in_suite(table)}]") == {"defenses": [table]}
    assert in_suite({"plugin": "toy-mean"}) == '"toy-mean"'


def test_what_changes_nothing_has_a_cosine_of_1(trying: Try) -> None:
    done = trying("identity")
    assert [row[1] for row in table_of(done.stdout).values()] == ["1.000", "1.000"]
    assert "SSIM 1.000, PSNR infinite" in done.stdout


def test_the_same_seed_gives_the_same_result(trying: Try) -> None:
    results = []
    for seed in (1, 1, 2):
        done = trying("noise", "--seed", seed)
        results.append((table_of(done.stdout), Path("try-noise.png").read_bytes()))
    assert results[0] == results[1]
    assert results[1] != results[2]


def test_global_random_numbers_follow_the_seed_too(
    trying: Try, toy_installed: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from bench import Protected

    def protect(self: object, images: torch.Tensor, ctx: object) -> Protected:
        return Protected(images=torch.rand_like(images))

    monkeypatch.setattr(toy_installed.components["defense", "toy-mean"].cls, "protect", protect)
    drawn = []
    for seed in (1, 1, 2):
        assert trying("toy-mean", "--seed", seed).exit_code == 0
        drawn.append(Path("try-toy-mean.png").read_bytes())
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_breakpoint_in_a_plugin_stops_in_this_process(
    trying: Try, toy_installed: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = toy_installed.components["defense", "toy-mean"].cls
    real, stopped = cls.protect, []  # type: ignore[attr-defined]

    def protect(self: object, images: object, ctx: object) -> object:
        breakpoint()
        return real(self, images, ctx)

    monkeypatch.setattr(cls, "protect", protect)
    monkeypatch.setattr("sys.breakpointhook", lambda: stopped.append(1))
    assert trying("toy-mean").exit_code == 0
    assert stopped == [1]  # The defense is called once.


def test_what_sends_no_picture_says_what_it_sends(trying: Try) -> None:
    done = trying("toy-features")
    assert done.exit_code == 0, done.stderr
    assert "no picture leaves the client, but features/block (16, 8, 8)" in done.stdout
    assert not Path("try-toy-features.png").exists()


# ---- attacks, models, metrics ----------------------------------------------------------------------------------------


def test_an_attack_rebuilds_a_protected_face(trying: Try) -> None:
    done = trying("toy-upsample", "--defense", "toy-mean,weight=0.5")
    assert done.exit_code == 0, done.stderr
    assert set(table_of(done.stdout)) == {"toy-a", "toy-b"}
    assert "protected by toy-mean,weight=0.5" in done.stdout
    assert "original | received | reconstructed" in done.stdout
    _, received, rebuilt = faces_of(Path("try-toy-upsample.png"))
    assert (rebuilt[0] == rebuilt[1]).all()  # It is grey.
    assert not (received[0] == received[1]).all()


def test_an_attack_that_learns_learns_first_and_once(trying: Try) -> None:
    first, second = trying("toy-learner,learns='defense'"), trying("toy-learner,learns='defense'")
    assert (first.exit_code, second.exit_code) == (0, 0), first.stderr
    assert "computing: toy-learner learning from auxiliary faces of toy-faces protected by noise" in first.stderr
    assert "computing" not in second.stderr
    assert first.stdout == second.stdout


def test_an_attack_estimates_attributes_of_original_and_upload(trying: Try) -> None:
    done = trying("toy-attributes", "--defense", "identity")
    assert done.exit_code == 0, done.stderr
    found = dict(re.findall(r"colour of the (\w+): (\w+) \(score", done.stdout))
    assert found["original"] == found["upload"]
    assert found["upload"] in ("red", "green", "blue")


@pytest.mark.parametrize("attack", ["averaged", "insider", "adapted-recogniser,steps=1,faces=8", "abuse"])
def test_an_attack_recognises(trying: Try, attack: str) -> None:
    done = trying(attack, "--defense", "identity")
    assert done.exit_code == 0, done.stderr
    assert "cosine: of the embeddings of the original and what is received" in done.stdout
    assert all(float(row[1]) > 0.5 for row in table_of(done.stdout).values())


def test_an_attack_links_two_pictures(trying: Try) -> None:
    done = trying("linked", "--defense", "identity")
    assert done.exit_code == 0, done.stderr
    same, other = (float(text) for text in re.findall(r"link score .*: (\S+)", done.stdout))
    assert same > other


def test_a_model_compares_people(trying: Try) -> None:
    done = trying("toy-b")
    assert done.exit_code == 0, done.stderr
    same, other = re.findall(r"toy-b +two pictures of ([\w ]+?) {2,}(\S+)", done.stdout)
    assert (same[0], other[0]) == ("one person", "different people")
    assert float(same[1]) > float(other[1])


def test_a_metric_has_a_value(trying: Try) -> None:
    done = trying("toy-difference", "--defense", "identity")
    assert done.exit_code == 0, done.stderr
    assert "toy-difference of a face that identity protected, beside the original: 0" in done.stdout


# ---- pictures of the user --------------------------------------------------------------------------------------------


def picture(path: Path, size: tuple[int, int]) -> Path:
    """Write a picture of noise with this width and height."""
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_an_aligned_picture_is_used_as_it_is(trying: Try, tmp_path: Path) -> None:
    given = picture(tmp_path / "mine.png", (SIZE, SIZE))
    done = trying("identity", given)
    assert done.exit_code == 0, done.stderr
    assert "used as it is: it has the 32x32 pixels of an aligned face" in done.stdout
    assert "learnt from generated faces" in done.stdout
    original, _, _ = faces_of(Path("try-identity.png"))
    np.testing.assert_array_equal(original, np.asarray(Image.open(given)).transpose(2, 0, 1))


@pytest.mark.parametrize("found", [True, False])
def test_another_picture_is_aligned_by_another_process(
    trying: Try, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: bool
) -> None:
    def align(command: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        assert command[:-2] == [sys.executable, "-P", "-m", "bench", "data", "align"]
        source, target = map(Path, command[-2:])
        target.mkdir()
        (one,) = source.iterdir()
        if found:
            Image.open(one).crop((0, 0, SIZE, SIZE)).save(target / "picture.png")
        else:
            (target / "not-found.csv").write_text("path,reason,detail\npicture.png,several,3 faces\n")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("bench.runs.trial.faces.run", align)
    done = trying("identity", picture(tmp_path / "large.png", (90, 70)))
    if found:
        assert done.exit_code == 0, done.stderr
        assert "90x70 pixels: its face was found and aligned as by bench data align" in done.stdout
    else:
        assert (done.exit_code, done.stdout) == (2, "")
        assert "or a picture with one clear face, found several: 3 faces" in done.stderr


@pytest.mark.parametrize(
    ("said", "found"),
    [("loading\nError: the extra [align] is missing\n", "the extra [align] is missing"), ("", "it ended with code 2")],
)
def test_an_alignment_that_fails_is_one_error(
    trying: Try, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, found: str
) -> None:
    failed = subprocess.CompletedProcess[str]([], 2, "", said)
    monkeypatch.setattr("bench.runs.trial.faces.run", lambda command, timeout_s: failed)
    done = trying("identity", picture(tmp_path / "large.png", (90, 70)))
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"or one that can be aligned: bench data align: {found}\n" in done.stderr


def test_the_command_that_aligns_exists() -> None:
    from bench.registry.discovery import commands

    assert "align" in commands("data")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "found nothing there"),
        ("folder", "found a folder"),
        (b"", "found an empty file"),
        (b"not a picture", "damaged or of another kind"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "damaged or of another kind"),
    ],
)
def test_a_bad_picture_gives_one_error(trying: Try, tmp_path: Path, content: bytes | str | None, words: str) -> None:
    path = tmp_path / "bad.png"
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    done = trying("noise", path)
    assert (done.exit_code, done.stdout) == (2, "")
    (error,) = [line for line in done.stderr.splitlines() if not line.startswith("computing")]
    assert error.startswith(f"Error: {path}: expected a picture")
    assert words in error


def test_pictures_are_read_as_they_are_seen(tmp_path: Path) -> None:
    """Grey of 16 bits is not cut off, and a turned photo is upright."""
    ramp = np.linspace(0, 65535, SIZE * SIZE).reshape(SIZE, SIZE)
    Image.fromarray(ramp.astype(np.uint16)).save(tmp_path / "grey.png")
    found = picture_face(tmp_path / "grey.png", (SIZE, SIZE)).pixels
    np.testing.assert_allclose(found[0], ramp / 257, atol=0.51)
    turned = Image.new("RGB", (SIZE, SIZE))
    turned.paste((255, 0, 0), (0, 0, SIZE, 4))  # The first rows, which are the right edge once it is upright.
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    upright = picture_face(tmp_path / "turned.png", (SIZE, SIZE)).pixels
    assert (upright[0, :, -4:] == 255).all()
    assert (upright[0, :, :-4] == 0).all()


@pytest.mark.parametrize("name", ["toy-b", "linked"])
def test_what_needs_two_pictures_refuses_one(trying: Try, tmp_path: Path, name: str) -> None:
    done = trying(name, picture(tmp_path / "mine.png", (SIZE, SIZE)))
    assert done.exit_code == 2
    assert "two pictures" in done.stderr


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["raises", "leaves"])
def test_an_exception_of_a_plugin_shows_its_traceback(trying: Try, how: str) -> None:
    done = trying(f"toy-misbehave,how={how}")
    assert (done.exit_code, done.stdout) == (2, "")
    sentence, _, shown = done.stderr[done.stderr.index("Error") :].partition("\n")
    assert sentence.startswith("Error: bench try toy-misbehave: expected a result, found an exception in the code of ")
    assert re.search(r"the plugin toy \(bench-toy-plugin \S+\), in protect\(\) at \S+misbehaving.py:\d+: ", sentence)
    assert shown.startswith("  Traceback")
    assert f"in _{how}" in shown
    assert "contracts.py" not in shown  # The frames of bench are left out.


FORGED = "broken\nError: bench try toy-mean: all is well\npicture: good.png\n\x1b[2K" + "x" * 5000


@pytest.mark.parametrize("how", ["RuntimeError", "MissingDataError", "ContractError"])
def test_the_words_of_a_plugin_are_no_lines_of_bench(
    trying: Try, toy_installed: Registry, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """An exception may have any text, and be one of bench itself."""
    cls = toy_installed.components["defense", "toy-mean"].cls
    code = {"__name__": "bench_toy.defenses"}
    exec(compile("def protect(self, images, ctx):\n    raise error", "defenses.py", "exec"), code)
    code["error"] = getattr(errors, how, RuntimeError)(FORGED)  # type: ignore[assignment]
    monkeypatch.setattr(cls, "protect", code["protect"])
    done = trying("toy-mean")
    assert (done.exit_code, done.stdout) == (2, "")
    said = done.stderr[done.stderr.index("Error") :].splitlines()
    assert [line for line in said if not line.startswith("  ")] == said[:1]
    assert said[0].startswith("Error: bench try toy-mean: ")
    assert "the plugin toy (bench-toy-plugin" in said[0]
    assert f"{how}: broken Error: bench try" in said[0]
    assert len(done.stderr) < 6000
    assert "\x1b" not in done.stderr


def test_an_error_that_reports_the_words_of_a_plugin_says_so(
    trying: Try, toy_installed: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = toy_installed.components["defense", "toy-mean"].cls
    code: dict[str, Any] = {"__name__": "bench_toy.defenses"}
    exec(compile("def fails():\n    raise ValueError(text)", "defenses.py", "exec"), code)
    code["text"] = FORGED

    def protect(self: object, images: object, ctx: object) -> object:
        try:
            return code["fails"]()
        except ValueError as error:
            raise errors.ContractError(f"the recogniser failed with {error}") from error

    monkeypatch.setattr(cls, "protect", protect)
    done = trying("toy-mean")
    (line,) = done.stderr[done.stderr.index("Error") :].splitlines()
    assert line.startswith("Error: bench try toy-mean: the plugin toy (bench-toy-plugin")
    assert "says: ContractError: the recogniser failed with broken Error: bench try" in line


def test_numbers_of_a_plugin_are_one_line_each(
    trying: Try, toy_installed: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from bench import Protected

    def protect(self: object, images: torch.Tensor, ctx: object) -> Protected:
        return Protected(images=images, extra={"a\nOne face proves a lot": torch.zeros(1)})

    monkeypatch.setattr(toy_installed.components["defense", "toy-mean"].cls, "protect", protect)
    done = trying("toy-mean")
    assert "  a One face proves a lot: 0 (returned by the defense)\n" in done.stdout


def test_the_debugger_opens_where_a_plugin_raises(trying: Try, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[TracebackType] = []
    monkeypatch.setattr("pdb.post_mortem", opened.append)
    assert trying("toy-misbehave").exit_code == 2
    assert opened == []
    assert trying("toy-misbehave", "--pdb").exit_code == 2
    (found,) = opened
    assert [frame.name for frame in traceback.extract_tb(found)] == ["protect", "_raises"]


def test_leaving_the_debugger_at_a_breakpoint_ends_the_command(
    trying: Try, toy_installed: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def protect(self: object, images: object, ctx: object) -> object:
        raise bdb.BdbQuit  # That is what quitting the debugger does.

    monkeypatch.setattr(toy_installed.components["defense", "toy-mean"].cls, "protect", protect)
    done = trying("toy-mean")
    assert done.exit_code == 2
    assert done.stderr.endswith("Error: bench try toy-mean: the debugger was left; nothing was written\n")


def test_an_exception_of_bench_itself_is_none_of_a_plugin(trying: Try, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("bench.runs.trial.kinds.judged", broken)
    with pytest.raises(ZeroDivisionError):
        trying("identity")


@pytest.mark.parametrize(
    ("how", "words"),
    [("shape", "(1, 3, 32, 31)"), ("'nan'", "NaN"), ("asks-network", "declare it"), ("mutates", "work on a copy")],
)
def test_a_broken_contract_is_one_error(trying: Try, how: str, words: str) -> None:
    done = trying(f"toy-misbehave,how={how}")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert "Error: defense toy-misbehave" in done.stderr
    assert words in done.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["nois"],
            "bench try nois: expected the name of a defense, an attack, a model or a metric; did you mean 'noise'?",
        ),
        (["toy-faces"], "bench try toy-faces: expected a defense, an attack, a model or a metric; a data set has no "),
        (
            ["toy-training"],
            "bench try toy-training: expected a defense, an attack, a model or a metric; a training set ",
        ),
        (["noise,sigmaa=1"], "bench try noise.sigmaa: unknown parameter 'sigmaa'; did you mean 'sigma'?"),
        (["noise,sigma=-1"], "bench try noise.sigma: input should be greater than or equal to 0, found -1"),
        (["noise,sigma"], "bench try noise,sigma: expected NAME or NAME,parameter=value"),
        (["noise,grid={sigma=[1,2]}"], "bench try noise: expected one component, found a grid of 2"),
        (["toy-upsample", "--defense", "nois"], "--defense nois: expected the name of a defense plugin, found 'nois'"),
        (["toy-targets"], "bench try toy-targets: cannot be tried: "),
        (["arcface-resnet"], "bench try arcface-resnet: "),
        (["mobileface"], "bench try mobileface: "),
        (["noise", "--out", "/"], "--out:"),
    ],
)
def test_wrong_arguments_give_one_error(trying: Try, args: list[str], message: str) -> None:
    done = trying(*args)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Error: {message}")
    assert list(Path().iterdir()) == []


def test_only_a_picture_of_its_own_is_replaced(trying: Try, tmp_path: Path) -> None:
    target = picture(tmp_path / "mine.png", (3, 3))
    before = target.read_bytes()
    done = trying("identity", "--out", target)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "expected no file, or one that bench try has made" in done.stderr
    assert target.read_bytes() == before
    assert trying("identity", "--out", target, "--force").exit_code == 0
    assert target.read_bytes() != before
    assert trying("noise", "--out", target).exit_code == 0  # It is its own now.


def test_old_artifacts_are_removed(trying: Try) -> None:
    trying("identity")
    artifacts = [path.parent for path in (cache_folder() / "try").glob("??/*/manifest.json")]
    assert len(artifacts) >= 3
    for folder in artifacts:
        os.utime(folder, (0, 0))
    assert "computing: calibration faces of toy-faces" in trying("identity").stderr
