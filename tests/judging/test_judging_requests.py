"""What ``bench judge`` refuses before it reads a picture: networks, folders and options, each with one error."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.core.errors import BenchError
from bench.judging import judgement
from bench.judging.judgement import Wanted
from bench.judging.judges import chosen
from bench.judging.private_files import check_outputs
from bench.registry.discovery import Registry

ZOO = ("zoo-mobileface",)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (["zoo-mobilefacet"], r"--judge zoo-mobilefacet: expected the name of a model plugin.*did you mean"),
        (["zoo-resnet", "zoo-resnet,label=A"], "--judge: expected each network once, found zoo-resnet twice"),
        (["zoo-resnet,label=A", "zoo-mobileface,label=a"], "found two called 'a'; add label=NAME"),
        (["zoo-resnet,label=3"], r"--judge zoo-resnet\.label: expected a text in one line, found 3"),
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


def test_outputs_never_replace_a_photo_or_each_other(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "beach.jpg").write_bytes(b"a photo")
    (tmp_path / "link").symlink_to(photos)
    for inside in (photos / "beach.jpg", tmp_path / "link" / "new.html"):
        with pytest.raises(BenchError, match=r"--report .*: expected a file outside of the folders of pictures"):
            check_outputs({"--rows": None, "--report": inside}, [photos])
    both = {"--rows": tmp_path / "a.csv", "--report": tmp_path / "a.csv"}
    with pytest.raises(BenchError, match=r"--report .*: expected another file than that of --rows"):
        check_outputs(both, [photos])
    check_outputs({"--rows": tmp_path / "a.csv", "--report": tmp_path / "a.html"}, [photos])


def test_not_a_number_is_no_rate(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["judge", str(tmp_path), str(tmp_path), "--fmr", "nan"])
    assert done.exit_code == 2
    assert done.output == "Error: --fmr: expected a number in the range 1e-06 to 0.5, found nan\n"
