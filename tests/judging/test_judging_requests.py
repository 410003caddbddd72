"""What ``bench judge`` refuses before it reads a picture: networks, folders and options, each with one error."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.judging import judgement
from bench.judging.judgement import Wanted
from bench.judging.judges import chosen
from bench.registry.discovery import Registry

ZOO = ("zoo-mobileface",)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (["zoo-mobilefacet"], r"--judge zoo-mobilefacet: expected the name of a model plugin.*did you mean"),
        (["zoo-resnet", "zoo-resnet,label=A"], "--judge: expected each network once, found zoo-resnet twice"),
        (["zoo-resnet,label=A", "zoo-mobileface,label=a"], "found two called 'a'; add label=NAME"),
        (["zoo-resnet,label=3"], r"--judge zoo-resnet\.label: expected a text, found 3"),
        (["toy-a"], r"--judge toy-a: expected a network for aligned faces of 112x112, found one for 32x32"),
        (["torch-module,factory=a:b"], "expected a network of an installed plugin, or weights in a file"),
        (["mobileface,weights_file=nowhere.pth"], "nowhere.pth"),
        (["zoo-resnet,depth=3"], "unknown parameter 'depth'"),
        (["=3"], "expected NAME or NAME,parameter=value"),
        ([], "expected a recognition network with real weights, found none here; nothing was judged"),
    ],
)
def test_networks_that_cannot_judge(named: list[str], expected: str, registry: Registry) -> None:
    with pytest.raises(BenchError, match=expected):
        chosen(named, registry)


def test_a_bundled_network_is_a_stand_in(registry: Registry) -> None:
    (judge,) = chosen(ZOO, registry)
    assert judge.stand_in
    assert judge.name == "zoo-mobileface"
    assert len(judge.weights) == 12


def test_labels_make_two_files_of_one_plugin_two_judges(registry: Registry, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from uniface_server import face_network

    for seed, name in enumerate(("a", "b")):
        (tmp_path / f"{name}.onnx").write_bytes(face_network(seed=seed))
    one, other = (f"onnx-model,weights_file={tmp_path}/{name}.onnx" for name in ("a", "b"))
    judges = chosen([f"{one},label=A", other], registry)
    assert [judge.name for judge in judges] == ["A", "onnx-model"]
    assert judges[0].weights != judges[1].weights
    with pytest.raises(BenchError, match=r"found two called 'onnx-model'; add label=NAME to one of them"):
        chosen([one, other], registry)


def test_folders_and_calibration_that_cannot_be_used(toy_installed: Registry, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one / "inside", other):
        folder.mkdir(parents=True)

    def refused(protected: Path, calibrate: str | None = None) -> str:
        wanted = Wanted(originals=one, protected=protected, judges=ZOO, calibrate=calibrate, aligned=True)
        with pytest.raises(BenchError) as error:
            judgement.judge(wanted, lambda what: None)
        return str(error.value)

    assert "expected a folder apart from the originals" in refused(one / "inside")
    assert "expected a folder apart from the originals" in refused(one)
    assert refused(other, "nowhere").startswith(
        "--calibrate: expected a folder with one folder per person, or the name"
    )
    assert refused(other).endswith("found none to judge: both folders are empty")
