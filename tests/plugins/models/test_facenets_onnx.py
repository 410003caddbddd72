"""ONNX networks: files, packs, baked batches, gradients, and files that want to do harm."""

from __future__ import annotations

import random
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from bench_facenets import OnnxModel
from bench_facenets.checks.selfcheck import probe_images
from bench_facenets.files import onnx_files
from bench_facenets.loading import build
from bench_facenets.loading.splitting import embedding_difference
from facenets_toys import onnx_bytes
from onnx import external_data_helper, helper

from bench import BenchError, DataError


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cards and weights of the test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    monkeypatch.delenv("BENCH_DATA", raising=False)


def model_of(content: bytes, folder: Path, name: str = "net.onnx", **params: object) -> OnnxModel:
    (folder / name).write_bytes(content)
    return OnnxModel(weights_file=name, **params)  # type: ignore[arg-type]


def embeddings_by_onnxruntime(content: bytes, images: torch.Tensor) -> torch.Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found = [session.run(None, {"image": (one * 2 - 1)[None].numpy()})[0] for one in images]
    return torch.from_numpy(np.concatenate(found))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "looped"),
    [
        (onnx_bytes(), False),
        (onnx_bytes(reshape=(1, -1)), True),
        (onnx_bytes(reshape=(1, -1), batch=1), True),
        (onnx_bytes(batch=1), False),
    ],
    ids=["dynamic", "baked", "baked-and-fixed", "fixed"],
)
def test_embeddings_are_those_of_onnxruntime_in_batches_too(content: bytes, looped: bool, tmp_path: Path) -> None:
    model = model_of(content, tmp_path)
    network = model.load()
    images = probe_images()
    assert embedding_difference(network(images), embeddings_by_onnxruntime(content, images)) < 1e-5
    assert model.card().looped is looped
    assert ("image by image" in " ".join(model.card().warnings)) is looped
    assert model.embedding_size == 8
    assert model.splits == {"28x28": (4, 28, 28), "7x7": (6, 7, 7)}


def test_gradients_of_a_baked_batch_are_those_of_its_images_alone(tmp_path: Path) -> None:
    network = model_of(onnx_bytes(reshape=(1, -1)), tmp_path).load()
    pixels = probe_images().requires_grad_(True)
    (together,) = torch.autograd.grad(network(pixels).square().sum(), pixels)
    for i in range(3):
        one = probe_images()[i : i + 1].requires_grad_(True)
        (alone,) = torch.autograd.grad(network(one).square().sum(), one)
        torch.testing.assert_close(together[i : i + 1], alone)


def test_split_points_are_nodes_by_their_plain_names(tmp_path: Path) -> None:
    model = model_of(onnx_bytes(), tmp_path, split_points={"early": "act_1", "late": "body_Conv"})
    network = model.load()
    images = probe_images()
    maps = network.features(images, ["late"])[0]
    torch.testing.assert_close(network.from_features(maps, "late"), network(images))
    assert list(model.splits) == ["early", "late"]


def test_the_input_size_is_the_files(tmp_path: Path) -> None:
    assert "64x64" in model_of(onnx_bytes(side=64), tmp_path).card().pixels
    with pytest.raises(DataError, match=r"its input is 64x64, net_input_size says \[112, 112\]"):
        model_of(onnx_bytes(side=64), tmp_path, net_input_size=(112, 112)).card()


def test_a_normalisation_in_the_network_is_noted(tmp_path: Path) -> None:
    proto = onnx.load_model_from_string(onnx_bytes())
    proto.graph.node[0].input[0] = "centred"
    proto.graph.node.insert(0, helper.make_node("Sub", ["image", "mean"], ["centred"], "minus"))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.float32([0.1]), "mean"))
    content = proto.SerializeToString()
    noted = " ".join(model_of(content, tmp_path).card().warnings)
    assert "(x - 0.1) / 1, which does not tell what pixels it takes" in noted
    assert "mean = 0 and std = 1 if it takes 0 to 255, or mean = 0 and std = 255 if it takes 0 to 1" in noted
    assert model_of(content, tmp_path, mean=0.0, std=1.0).card().warnings == ()


# ---- packs -----------------------------------------------------------------------------------------------------------


def pack(names: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as zipped:
        for name, content in names.items():
            zipped.writestr(name, content)
    return path


def detector() -> bytes:
    return onnx_bytes(side=64, seed=1)


def test_the_recognition_network_of_a_pack_is_chosen(tmp_path: Path) -> None:
    wanted = onnx_bytes(dims=16)
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / "det_10g.onnx").write_bytes(detector())
    (folder / "w600k_mbf.onnx").write_bytes(wanted)
    assert OnnxModel(weights_file="pack").weights().name == "w600k_mbf.onnx"
    assert OnnxModel(weights_file="pack").embedding_size == 16
    (folder / "w600k_mbf.onnx").rename(folder / "unknown.onnx")
    assert OnnxModel(weights_file="pack").weights().name == "unknown.onnx"
    zipped = pack({"buffalo/det.onnx": detector(), "buffalo/w600k_r50.onnx": wanted}, tmp_path / "buffalo.zip")
    assert OnnxModel(weights_file=str(zipped)).embedding_size == 16
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".onnx"] == []


@pytest.mark.parametrize("names", [("w600k_r50.onnx", "w600k_mbf.onnx"), ("a.onnx", "b.onnx"), ()])
def test_a_pack_without_one_recognition_network_is_refused(names: tuple[str, ...], tmp_path: Path) -> None:
    zipped = pack({name: onnx_bytes() for name in names}, tmp_path / "pack.zip")
    with pytest.raises(DataError, match=r"pack.zip: expected one recognition network .*name the .onnx file itself"):
        OnnxModel(weights_file=str(zipped)).card()


# ---- files that want to do harm, and damaged ones --------------------------------------------------------------------


def test_names_of_nodes_are_never_executed(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    evil = f'x"),getattr(__import__("os"),"system")("touch {canary}"),getattr(self,"y'
    network = model_of(onnx_bytes(node_name=evil), tmp_path).load()
    network(probe_images(1))
    assert not canary.exists()


def test_operations_of_their_own_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found 'Conv' of 'my\.ops'"):
        model_of(onnx_bytes(domain="my.ops"), tmp_path).card()


def test_control_flow_is_refused(tmp_path: Path) -> None:
    proto = onnx.load_model_from_string(onnx_bytes())
    branch = helper.make_graph([], "then", [], [helper.make_tensor_value_info("b", 1, None)])
    proto.graph.node.append(helper.make_node("If", ["b"], ["z"], then_branch=branch, else_branch=branch))
    with pytest.raises(DataError, match="control flow of 'If'"):
        model_of(proto.SerializeToString(), tmp_path).card()


def test_a_small_file_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    proto = onnx.load_model_from_string(onnx_bytes())
    shape = onnx.numpy_helper.from_array(np.array([1, 1 << 20, 1 << 15]), "huge")
    proto.graph.initializer.append(shape)
    proto.graph.node.append(helper.make_node("ConstantOfShape", ["huge"], ["bomb"], "bomb"))
    with pytest.raises(DataError, match=r"maps of at most .* 'bomb' with 34,359,738,368"):
        model_of(proto.SerializeToString(), tmp_path).card()


def externally(content: bytes, location: str) -> bytes:
    proto = onnx.load_model_from_string(content)
    for tensor in proto.graph.initializer:
        if tensor.name == "w3":
            external_data_helper.set_external_data(tensor, location, 0, len(tensor.raw_data))
            tensor.ClearField("raw_data")
    return proto.SerializeToString()


def test_external_data_is_read_and_fingerprinted_inside_the_folder_only(tmp_path: Path) -> None:
    content = onnx_bytes()
    raw = next(t.raw_data for t in onnx.load_model_from_string(content).graph.initializer if t.name == "w3")
    (tmp_path / "inner").mkdir()
    (tmp_path / "data.bin").write_bytes(raw)
    (tmp_path / "inner" / "data.bin").write_bytes(raw)
    model = model_of(externally(content, "data.bin"), tmp_path, "inner/net.onnx")
    network = model.load()
    assert embedding_difference(network(probe_images()), embeddings_by_onnxruntime(content, probe_images())) < 1e-5
    before = model.fingerprint()
    (tmp_path / "inner" / "data.bin").write_bytes(bytes(len(raw)))
    assert model.fingerprint() != before
    for outside in ("../data.bin", str(tmp_path / "data.bin")):
        with pytest.raises(DataError, match="lies outside its folder"):
            model_of(externally(content, outside), tmp_path, "inner/net.onnx").fingerprint()
    (tmp_path / "inner" / "link.bin").symlink_to(tmp_path / "data.bin")
    with pytest.raises(DataError, match="lies outside its folder"):
        model_of(externally(content, "link.bin"), tmp_path, "inner/net.onnx").card()
    with pytest.raises(DataError, match="found no such file"):
        model_of(externally(content, "none.bin"), tmp_path, "inner/net.onnx").card()


@pytest.mark.parametrize("kept", [0, 1, 10, 200, 2000, -1])
def test_damaged_files_end_in_one_error(kept: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"net\.onnx") as caught:
        model_of(onnx_bytes()[:kept], tmp_path).card()
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_mutated_files_load_or_end_in_one_error(tmp_path: Path) -> None:
    content, rng = onnx_bytes(), random.Random(1)
    structure = [*range(700), *range(len(content) - 400, len(content))]  # the rest is weights
    errors: list[str] = []
    for _ in range(100):
        mutated = bytearray(content)
        for spot in rng.sample(structure, rng.choice([1, 1, 2, 5])):
            mutated[spot] = rng.randrange(256)
        try:
            build.examine(model_of(bytes(mutated), tmp_path))
        except DataError as error:
            errors.append(str(error))
    assert 20 < len(errors) < 90
    assert [e for e in errors if "net.onnx" not in e or "\n" in e] == []


@pytest.mark.parametrize("content", [b"<html>not found</html>", b"\x80\x04}q\x00.", b"PK\x03\x04junk", bytes(1000)])
def test_other_files_end_in_one_error(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"net\.onnx"):
        model_of(content, tmp_path).card()


def test_what_takes_no_images_is_refused(tmp_path: Path) -> None:
    proto = onnx.load_model_from_string(onnx_bytes())
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    dims[1].dim_value, dims[3].dim_value = 112, 7
    with pytest.raises(DataError, match=r"expected one input \(n, 3, h, w\) of float32"):
        model_of(proto.SerializeToString(), tmp_path).card()


def test_large_files_are_refused_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zipped = pack({"w600k.onnx": onnx_bytes()}, tmp_path / "pack.zip")
    monkeypatch.setattr(onnx_files, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="expected at most 0 MiB"):
        model_of(onnx_bytes(), tmp_path).card()
    with pytest.raises(DataError, match="MiB of networks"):
        OnnxModel(weights_file=str(zipped)).card()


@pytest.mark.parametrize("package", ["onnx", "onnx2torch", "onnxruntime"])
def test_a_missing_package_is_named_with_the_remedy(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    onnx_files._beside.cache_clear()
    with pytest.raises(DataError, match=rf"{package} is missing; .*pip install 'face-privacy-bench\[onnx\]'"):
        model_of(onnx_bytes(seed=7), tmp_path).card()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found none at .*nothing\.onnx"):
        OnnxModel(weights_file="nothing.onnx").weights()
    with pytest.raises(ValueError, match="weights_file: expected the path"):
        OnnxModel()
    with pytest.raises(BenchError, match="the variable NOWHERE is not set"):
        OnnxModel(weights_file="$NOWHERE/net.onnx").weights()


@pytest.mark.parametrize(
    ("outputs", "chosen", "others"),
    [
        (["logits", "embedding"], "embedding", ("logits",)),
        (["embedding", "logits"], "embedding", ("logits",)),
        (["left", "right"], "left", ("right",)),
        (["norm", "embedding"], "embedding", ()),
        (["logits"], "logits", ()),
    ],
)
def test_the_output_from_which_others_are_computed_is_the_embedding(
    outputs: list[str], chosen: str, others: tuple[str, ...]
) -> None:
    nodes = [
        helper.make_node("Identity", ["x"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "w"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["logits"]),
        helper.make_node("Relu", ["x"], ["left"]),
        helper.make_node("Sigmoid", ["x"], ["right"]),
        helper.make_node("ReduceL2", ["x"], ["norm"]),
    ]
    sizes = {"norm": 1, "logits": 3}
    made = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["n", sizes.get(n, 8)]) for n in outputs]
    graph = helper.make_graph(nodes, "g", [], made)
    assert onnx_files._embedding_outputs(graph) == (chosen, others)
