"""Any torch module that a suite names, without a plugin; and the declarations of the named networks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from bench_facenets import MODELS, NAMED, FaceNet, TorchModule
from bench_facenets.checks.selfcheck import probe_images
from bench_facenets.files.locate import PUBLIC_FILES, named_weights
from bench_facenets.loading import factory
from facenets_toys import SOURCE, weights_file

from bench import DataError, MissingDataError, SuiteError
from bench.core.content_keys import digest_of
from bench.registry import sources
from bench.registry.components import instantiate, origin_of
from bench.registry.discovery import discover
from bench.suite.expand import full_reference
from bench.suite.resolve import Resolver

MAKE = "nets.py:make"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a factory and its weights."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(SOURCE)
    torch.manual_seed(0)
    weights_file(factory.call(MAKE, {}), tmp_path / "net.pth")
    return tmp_path


def module(name: str = MAKE, weights: str = "net.pth", **params: object) -> TorchModule:
    return TorchModule(factory=name, weights_file=weights, **params)  # type: ignore[arg-type]


def test_a_module_from_a_file_is_a_network(home: Path) -> None:
    model = module(split_points={"stage": "stage", "stem": "stem"})
    network = model.load()
    net = factory.call(MAKE, {})
    net.load_state_dict(torch.load(home / "net.pth", weights_only=True))
    images = probe_images()
    torch.testing.assert_close(network(images), net(images * 2 - 1))
    assert model.splits == {"stem": (4, 28, 28), "stage": (8, 7, 7)}
    assert model.embedding_size == 8
    assert model.input_size == (112, 112)
    assert model.card().layout == "torch module nets.py:make"


def test_a_factory_that_changed_under_its_old_time_and_size_is_read_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    for value in (1, 2):
        (home / "value.py").write_text(f"def make():\n    return {value}\n")
        os.utime(home / "value.py", ns=(10**18, 10**18))
        assert factory.call("value.py:make", {}) == value


def test_arguments_sizes_and_statistics_reach_the_network(home: Path) -> None:
    arguments = {"width": 5, "dims": 6, "sides": [7, 6]}
    weights_file(factory.call(MAKE, arguments), home / "wide.pth")
    model = module(
        weights="wide.pth",
        arguments=arguments,
        net_input_size=(112, 96),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        pixel_range=1,
        channels="bgr",
    )
    assert model.splits == {"28x24": (5, 28, 24), "7x6": (10, 7, 6)}
    assert model.card().pixels == "112x96 bgr, (x - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]"
    assert model.embedding_size == 6
    assert model.keywords() == arguments
    assert factory.call(MAKE, model.keywords()).head.in_features == 10 * 42


def test_a_module_from_an_installed_package(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "site" / "plugin_nets").mkdir(parents=True)
    (home / "site" / "plugin_nets" / "__init__.py").write_text("")
    (home / "site" / "plugin_nets" / "small.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(home / "site"))
    model = module("plugin_nets.small:make")
    assert model.load()(probe_images()).shape == (3, 8)
    before = model.fingerprint()
    (home / "site" / "plugin_nets" / "helper.py").write_text("x = 1\n")
    assert model.fingerprint() != before


def test_the_fingerprint_is_that_of_weights_and_source(home: Path) -> None:
    before = module().fingerprint()
    assert module().fingerprint() == before
    (home / "nets.py").write_text(SOURCE + "# changed\n")
    changed = module().fingerprint()
    assert changed != before
    (home / "nets.py").write_text(SOURCE)
    torch.manual_seed(1)
    weights_file(factory.call(MAKE, {}), home / "net.pth")
    assert module().fingerprint() not in (before, changed)


def test_weights_are_looked_up_in_the_weights_folders_first(home: Path) -> None:
    assert module().weights() == home / "net.pth"
    (home / "weights").mkdir()
    torch.manual_seed(1)
    weights_file(factory.call(MAKE, {}), home / "weights" / "net.pth")
    assert module().weights() == home / "weights" / "net.pth"


@pytest.mark.parametrize("standing_in", ["suite", "."])
def test_weights_beside_the_suite_come_first_wherever_one_stands(
    standing_in: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_SUITE_FOLDER", str(home / "suite"))
    for name in ("suite", "weights"):
        (home / name).mkdir()
        (home / name / "net.pth").write_bytes(b"x")
    monkeypatch.chdir(home / standing_in)
    assert module().weights() == home / "suite" / "net.pth"
    (home / "suite" / "net.pth").unlink()
    assert module().weights() == home / "weights" / "net.pth"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nothing.py:make", "expected a Python file, found none at"),
        ("nets.py:makes", r"has no 'makes'; did you mean 'make'\?"),
        ("nets.py:constant", "expected a callable, found int"),
        ("nets.py:fails", r"fails\(\) failed: RuntimeError: no such layer"),
        ("nets.py:number", "expected a torch.nn.Module, found int"),
        ("broken.py:make", "cannot be imported: ModuleNotFoundError.*name a package instead"),
        ("syntax.py:make", "cannot be imported: SyntaxError"),
        ("no_such_package.nets:make", "no package 'no_such_package' is installed"),
        ("json.nothing:make", "cannot be imported: ModuleNotFoundError"),
    ],
)
def test_each_mistake_of_a_factory_is_one_error(name: str, says: str, home: Path) -> None:
    (home / "broken.py").write_text("import no_such_package\n")
    (home / "syntax.py").write_text("def make(:\n")
    with pytest.raises(DataError, match=says) as caught:
        module(name).card()
    assert "factory = " in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_arguments_that_do_not_fit_are_one_error(home: Path) -> None:
    with pytest.raises(DataError, match=r"make\(depth=3\) failed: TypeError"):
        module(arguments={"depth": 3}).card()
    with pytest.raises(DataError, match=r"net.pth: expected exactly the weights .* of another shape: stem.weight"):
        module(arguments={"width": 5}).card()


def test_keys_that_do_not_fit_are_listed(home: Path) -> None:
    state = torch.load(home / "net.pth", weights_only=True)
    state["tail.weight"] = state.pop("head.weight")
    torch.save(state, home / "net.pth")
    with pytest.raises(DataError, match=r"1 missing: head.weight; 1 unexpected: tail.weight; is this the right file"):
        module().card()


def test_wrapped_and_prefixed_checkpoints_are_read(home: Path) -> None:
    expected = module().load()(probe_images())
    state = torch.load(home / "net.pth", weights_only=True)
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, home / "wrapped.pth")
    torch.testing.assert_close(module(weights="wrapped.pth").load()(probe_images()), expected)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"weights": ""}, "weights_file: expected the path of the weights"),
        ({"name": "nets"}, "expected 'package.module:callable' or 'path/to/file.py:callable'"),
        ({"name": "nets.py"}, "expected 'package.module:callable'"),
        ({"name": "a/b:make"}, "expected 'package.module:callable'"),
        ({"arguments": {"x": {"y": 1}}}, "arguments.x: expected text, a finite number"),
        ({"arguments": {"x": float("nan")}}, "arguments.x: expected text, a finite number"),
        ({"mean": (0.485, 0.456, 0.406)}, "set pixel_range = 1"),
        ({"split_points": ("stem", "stem")}, "each name once"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(params: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        module(**params)  # type: ignore[arg-type]


SUITE = {
    "plugin": "torch-module",
    "factory": MAKE,
    "weights_file": "net.pth",
    "arguments": {"width": 4, "sides": [7, 7]},
    "split_points": {"stem": "stem", "stage": "stage"},
    "net_input_size": [112, 112],
    "mean": 127.5,
    "license": "mine",
}


def test_a_suite_entry_becomes_a_hashable_component(home: Path) -> None:
    reference = full_reference("model", SUITE, "models[0]")
    found = Resolver(discover()).component(reference)
    assert found.weights == module().fingerprint()
    again = TorchModule(**found.params)
    assert hash(again) == hash(TorchModule(**found.params))
    assert hash(tuple(sorted(found.params.items()))) == hash(tuple(sorted(found.params.items())))
    assert digest_of(found) == digest_of(Resolver(discover()).component(reference))
    assert again.keywords() == {"width": 4, "sides": [7, 7]}
    assert again.wanted_splits() == {"stem": "stem", "stage": "stage"}
    assert again.license == "mine"


def test_a_misspelt_parameter_has_a_hint() -> None:
    with pytest.raises(SuiteError, match=r"did you mean 'net_input_size'\?"):
        instantiate(TorchModule, {**SUITE, "input_size": [112, 96]} | {"plugin": 1} and {"input_size": [112, 96]}, "m")


# ---- the named networks ----------------------------------------------------------------------------------------------


def test_the_papers_networks_are_declared() -> None:
    found = {name: (cls.stands_in_for, cls.stand_in) for name, cls in MODELS.items()}
    assert found == {
        "mobileface": ("MobileFace", "zoo-mobileface"),
        "ir50-arcface": ("ArcFace", "zoo-ir-arcface"),
        "ir50-sphereface": ("IR50-SphereFace", "zoo-ir-sphereface"),
        "ir50-softmax": ("IR50-Softmax", "zoo-ir-softmax"),
        "ir-se50": ("ArcFace", "zoo-ir-arcface"),
        "mobilenet": ("MobileNet", "zoo-mobilenet"),
        "resnet50": ("ResNet50", "zoo-resnet"),
        "torch-module": (None, None),
        "onnx-model": (None, None),
    }
    assert set(PUBLIC_FILES) == {cls.name for cls in NAMED}


@pytest.mark.parametrize("cls", NAMED)
def test_missing_weights_say_what_was_looked_for_and_where(cls: type[FaceNet], home: Path) -> None:
    with pytest.raises(MissingDataError) as caught:
        cls().fingerprint()
    assert f"{cls.name}.{{safetensors,pth,pt,ckpt,onnx}}" in str(caught.value)  # type: ignore[attr-defined]
    assert f"{home / 'weights'} (not there)" in str(caught.value)
    assert cls().status().missing == str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["ir50-arcface.pth", "IR50_ArcFace.PTH", "ir50_arcface.safetensors", "backbone_ir50_ms1m_epoch120.pth"],
)
def test_weights_are_found_under_either_name(name: str, home: Path) -> None:
    (home / "weights").mkdir()
    (home / "weights" / name).touch()
    assert named_weights("ir50-arcface").name == name


def test_weights_are_found_in_data_folders_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(home / "data"))
    (home / "data" / "weights").mkdir(parents=True)
    (home / "data" / "weights" / "mobileface.pt").touch()
    assert named_weights("mobileface") == home / "data" / "weights" / "mobileface.pt"
    (home / "weights").mkdir()
    (home / "weights" / "mobileface.ckpt").touch()
    assert named_weights("mobileface") == home / "weights" / "mobileface.ckpt"


def test_declarations_import_no_torch(home: Path) -> None:
    code = (
        "import sys, json; from bench_facenets import MODELS, TorchModule;"
        "m = TorchModule(factory='nets.py:make', weights_file='net.pth'); m.fingerprint();"
        "print(json.dumps([n for n in ('torch', 'onnx', 'onnxruntime') if n in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert json.loads(done.stdout) == []


def libraries_of(name: str, params: dict[str, object]) -> dict[str, str]:
    """Return the packages in the content key of a model, as a suite names it."""
    registry = discover()
    made = instantiate(registry.find("model", name, "model").cls, params, "model")
    return dict(origin_of(registry.find("model", name, "model"), made, "model").libraries)


def test_the_libraries_that_convert_a_file_are_in_the_key(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "net.onnx").write_bytes(b"")
    converters = {"onnx": f"onnx {version('onnx')}", "onnx2torch": f"onnx2torch {version('onnx2torch')}"}
    for name in ("onnx-model", "mobileface", "uniface-mobileface"):
        if name in discover().names("model"):
            assert converters.items() <= libraries_of(name, {"weights_file": "net.onnx"}).items(), name
    assert not converters.keys() & libraries_of("mobileface", {"weights_file": "net.pth"}).keys()
    monkeypatch.setattr(sources, "_published_version", lambda name, own: f"{name} 99")
    assert libraries_of("onnx-model", {"weights_file": "net.onnx"})["onnx2torch"] == "onnx2torch 99"


def test_the_libraries_that_a_factory_imports_are_in_the_key(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(home / "site"))
    (home / "site").mkdir()
    (home / "site" / "author_layers.py").write_text("import author_deeper\n")
    (home / "site" / "author_deeper.py").write_text("x = 1\n")
    (home / "nets.py").write_text(f"import safetensors.torch\nimport author_absent\nimport author_layers\n{SOURCE}")
    model = {"factory": MAKE, "weights_file": "net.pth"}
    before = libraries_of("torch-module", model)
    assert before["safetensors"] == f"safetensors {version('safetensors')}"
    assert {"author_layers", "author_deeper"} <= before.keys()
    assert not {"author_absent", "torch", "nets"} & before.keys()
    (home / "site" / "author_deeper.py").write_text("x = 2\n")
    after = libraries_of("torch-module", model)
    assert [name for name in after if after[name] != before[name]] == ["author_deeper"]
