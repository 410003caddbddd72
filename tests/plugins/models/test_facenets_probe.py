"""Cards: computed once, in another process if this one has not imported torch, and stored."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from bench_facenets import TorchModule
from bench_facenets.checks import probe
from bench_facenets.checks.selfcheck import probe_images
from bench_facenets.files.card import Card, from_json
from bench_facenets.loading import build, factory
from facenets_toys import SOURCE, weights_file
from hypothesis import given
from hypothesis import strategies as st

from bench import DataError, StorageError


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TorchModule:
    """Return a model in the current folder, with a separate cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(SOURCE)
    torch.manual_seed(0)
    weights_file(factory.call("nets.py:make", {}), tmp_path / "net.pth")
    return TorchModule(factory="nets.py:make", weights_file="net.pth", arguments={"sides": [7, 7]})


def kept(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "face-privacy-bench" / "models").glob("*"))


def test_a_card_is_worked_out_once(model: TorchModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = model.card()
    (file,) = kept(tmp_path)
    assert from_json(file.read_text()) == card
    monkeypatch.setattr(build, "examine", lambda _model: pytest.fail("worked out again"))
    assert model.card() == card
    assert model.splits == card.shapes


def test_other_parameters_weights_or_code_have_cards_of_their_own(model: TorchModule, tmp_path: Path) -> None:
    places = {probe.place(model)}
    places.add(probe.place(TorchModule(factory=model.factory, weights_file="net.pth", mean=0.0)))
    (tmp_path / "nets.py").write_text(SOURCE + "\n")
    places.add(probe.place(model))
    weights_file(factory.call("nets.py:make", {}), tmp_path / "net.pth")
    places.add(probe.place(model))
    assert len(places) == 4


def test_a_network_of_another_package_has_another_card_when_that_package_changes(
    model: TorchModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "from bench_facenets import TorchModule\n\nclass Mine(TorchModule):\n    pass\n"
    (tmp_path / "plugin_card.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("plugin_card")
    mine = module.Mine(factory=model.factory, weights_file="net.pth")
    before = probe.place(mine)
    (tmp_path / "plugin_card.py").write_text(source + "    scale = 2\n")
    probe._code_digest.cache_clear()
    assert probe.place(mine) != before


def test_a_damaged_card_is_made_again(model: TorchModule, tmp_path: Path) -> None:
    card = model.card()
    (file,) = kept(tmp_path)
    for text in ("", "{}", "[1]", '{"splits": 3}', file.read_text()[:-40]):
        file.write_text(text)
        assert model.card() == card
        assert from_json(file.read_text()) == card


def test_a_stale_card_is_not_believed_when_loading(
    model: TorchModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = model.card()
    stamp = (0, 0, time.time_ns() + 10**12)  # The file changes within one step of the clock.
    monkeypatch.setattr(probe, "file_stamp", lambda path: stamp)
    assert probe.kept_card(probe.place(model)) == card
    (file,) = kept(tmp_path)
    wrong = json.loads(file.read_text())
    wrong["embedding_size"] = 99
    file.write_text(json.dumps(wrong))
    assert model.embedding_size == 99
    assert model.load()(probe_images()).shape == (3, 8)
    assert model.card() == card


def test_a_cache_that_cannot_be_written_is_named(
    model: TorchModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="set XDG_CACHE_HOME"):
        model.card()


PLAN = """
import json, sys
from bench import BenchError
from bench_facenets import TorchModule
model = TorchModule(factory=sys.argv[1], weights_file="net.pth", arguments={"sides": [7, 7]})
try:
    print(json.dumps({"splits": model.splits, "torch": "torch" in sys.modules}))
except BenchError as error:
    print(json.dumps({"error": type(error).__name__, "message": str(error)}))
"""


def plan(name: str = "nets.py:make") -> dict[str, object]:
    """What a process without torch makes of a model."""
    done = subprocess.run(
        [sys.executable, "-c", PLAN, name], capture_output=True, text=True, check=True, env={**os.environ}
    )
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@pytest.mark.slow
def test_a_process_without_torch_asks_another_one(model: TorchModule, tmp_path: Path) -> None:
    assert plan() == {"splits": {"28x28": [4, 28, 28], "7x7": [8, 7, 7]}, "torch": False}
    before = [file.stat().st_mtime_ns for file in kept(tmp_path)]
    assert len(before) == 1
    assert model.card().embedding_size == 8  # this process has torch and finds the same card
    assert [file.stat().st_mtime_ns for file in kept(tmp_path)] == before


@pytest.mark.slow
@pytest.mark.parametrize("pythonpath", ["", "somewhere"])
def test_files_in_the_working_folder_are_neither_run_nor_in_the_way(
    model: TorchModule, pythonpath: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("statistics", "logging", "bench", "torch", "json", "bench_facenets"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / name)!r} + '.ran', 'w')\nraise SystemExit(3)\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])  # As with python -m.
    monkeypatch.setenv("PYTHONPATH", pythonpath)
    assert probe._elsewhere(model).embedding_size == 8
    assert sorted(tmp_path.glob("*.ran")) == []


def test_a_working_folder_that_pythonpath_names_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), "/elsewhere"])
    assert probe._import_path() == ["/elsewhere"]
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert probe._import_path() == [str(tmp_path), "/elsewhere"]


def test_a_line_says_which_network_is_looked_at_before_it_starts(
    model: TorchModule, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []
    examine = build.examine
    monkeypatch.setattr(build, "examine", lambda m: seen.append(capsys.readouterr().err) or examine(m))
    model.card()
    (line,) = seen
    assert line.startswith("loading and checking the network torch-module from ")
    assert "net.pth (once for this file" in line
    model.card()
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_what_the_other_process_finds_wrong_is_one_error(model: TorchModule, tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(SOURCE.replace("def number():", "def number(sides):"))
    answer = plan("nets.py:number")
    assert answer["error"] == "DataError"
    assert str(answer["message"]).startswith("net.pth: ") or "net.pth" in str(answer["message"])
    assert "expected a torch.nn.Module, found int" in str(answer["message"])
    assert kept(tmp_path) == []


@pytest.mark.slow
def test_a_process_that_dies_or_takes_too_long_is_one_error(
    model: TorchModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nets.py").write_text(SOURCE + "\nimport os\nos._exit(7)\n")
    with pytest.raises(DataError, match=r"net.pth: the process that looks at the network ended with code 7"):
        probe._elsewhere(model)
    (tmp_path / "nets.py").write_text(SOURCE + "\nimport time\ntime.sleep(60)\n")
    monkeypatch.setattr(probe, "TIME_LIMIT", 0.3)
    with pytest.raises(DataError, match=r"net.pth: not loaded and checked after 0.3 s"):
        probe._elsewhere(model)


def test_whatever_a_network_raises_is_one_error(model: TorchModule, tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(SOURCE.replace("return self.head", "return self.no_such"))
    with pytest.raises(DataError, match=r"net.pth: the network failed with AttributeError: .*no_such"):
        model.card()


LEAVES = st.none() | st.booleans() | st.integers() | st.text()


@pytest.mark.slow
@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_other_json_is_no_card(value: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        from_json(json.dumps(value))


def test_cards_survive_json() -> None:
    card = Card(embedding_size=4, splits={}, mflops=1.5, parameters=7, warnings=("one",))
    assert from_json(card.to_json()) == card
