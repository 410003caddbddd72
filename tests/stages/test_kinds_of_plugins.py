"""Kinds of plugins that people write: what they read, call, import, declare and forget. See `kinds_of_input`."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kinds_of_input import KindOfInput, check, outcome
from support import compute, write_metadata, write_plugin

from bench.planning.plan import Plan, make_plan
from bench.registry.discovery import Registry, discover
from bench.runs import record
from bench.stages import stage_inputs, undeclared
from bench.store.artifacts import Cache
from bench.suite.suite import load

SUITE = """
[suite]
name = "kinds"
seed = 1

[[experiment]]
name = "one"
datasets = ["{dataset}"]
authorised = ["toy-a"]
evaluated = ["{model}"]
defenses = ["{defense}"]
attacks = ["{attack}"]
pairs = 4
{more}
"""
HEAD = """
import importlib, json, subprocess, warnings
from dataclasses import dataclass
from pathlib import Path
import torch
from bench import Attack, Defense, Protected, Reconstructed, hookimpl

HERE = Path(__file__).parent

def grey(images, value):
    return Protected(images=torch.full_like(images, float(value)))
"""
REGISTERED = """

@hookimpl
def bench_defenses():
    return {"mine": Mine}
"""
DEFENSE = """
@dataclass(frozen=True, kw_only=True)
class Mine(Defense):
"""


def defense(body: str) -> str:
    """Return the source of a plugin with the defense ``mine``, whose class has this body."""
    return HEAD + DEFENSE + "".join(f"    {line}\n" for line in body.strip().splitlines()) + REGISTERED


def attack(body: str) -> str:
    """Return the source of a plugin with the attack ``mine``, whose class has this body."""
    source = defense(body).replace("class Mine(Defense)", "class Mine(Attack)")
    return source.replace("def bench_defenses", "def bench_attacks")


_TOY: list[Path] = []  # the folder in which the toy plugin is installed


@pytest.fixture(autouse=True)
def _toy(toy_site: Path) -> None:
    _TOY[:] = [toy_site]


@contextlib.contextmanager
def installed(site: Path) -> Iterator[Registry]:
    """Context manager with the plugins of a folder, as a new process finds them."""
    with pytest.MonkeyPatch.context() as patch:
        for folder in (*_TOY, site):
            patch.syspath_prepend(str(folder))
        patch.setenv("PATH", f"{site}{os.pathsep}{os.environ['PATH']}")
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.setattr(undeclared, "_known", {})
        stage_inputs.forget_networks()
        discover.cache_clear()
        try:
            yield discover()
        finally:
            discover.cache_clear()
            for name in [n for n in sys.modules if n.partition(".")[0].startswith(("plugin_", "author_"))]:
                del sys.modules[name]


@dataclass
class Tried:
    """A suite that was run with a plugin: its plan, the number of stages that were computed, the reasons of those that
    failed, the grey value, and the notes."""

    plan: Plan
    computed: int
    failures: list[str]
    value: float | None
    notes: list[str]

    @property
    def said(self) -> str:
        """The first failure, or ``ok`` with the mean of what was uploaded or reconstructed, and the notes."""
        if self.failures:
            return self.failures[0]
        value = "" if self.value is None else f", {self.value:.2f}"
        return f"ok{value}" + "".join(f"; {note}" for note in self.notes)


def run(folder: Path, code: str, *, use: str = "defense", more: str = "", parameters: str = "") -> Tried:
    """Run a suite with a plugin in this process."""
    site = folder / "site"
    if not (site / "plugin_mine").is_dir():
        shutil.rmtree(site / "plugin_mine-1.0.dist-info", ignore_errors=True)
        write_plugin(site, "plugin_mine", code)
    named = {"dataset": "toy-faces", "model": "toy-a", "defense": "identity", "attack": "abuse", "more": more}
    named[use] = "mine"
    text = SUITE.format(**named).replace('"mine"', f'{{ plugin = "mine", {parameters} }}' if parameters else '"mine"')
    (folder / "suite.toml").write_text(text, encoding="utf-8")
    cache = Cache(folder / "cache")
    with installed(site) as registry, warnings.catch_warnings():
        warnings.simplefilter("default")
        plan = make_plan(load(folder / "suite.toml", registry), registry, "cpu")
        skipped = [cell.skip for cell in plan.cells if cell.skip]
        results = compute(plan, cache)
        components = [record.component_record(c) for c, _ in record.components_of(plan)]
        noted = record.with_notes(
            _record(plan, components), plan, record.noticed_by(plan.stages.values(), plan, cache)
        ).components
    failures = [str(r.reason) for r in results.values() if r.status != "ok"]
    kind = "protect" if use == "defense" else "attack"
    made = [cache.read(key) for key, stage in plan.stages.items() if stage.kind == kind and results[key].status == "ok"]
    values = [t for a in made for n, t in a.tensors.items() if n in ("images", "features/stem", "features/block")]
    value = float(values[0].mean()) / (255 if values[0].dtype == "uint8" else 1) if values else None
    computed = sum(not result.cached for result in results.values())
    return Tried(plan, computed, [*map(str, skipped), *failures], value, [note for c in noted for note in c.notes])


def _record(plan: Plan, components: list[record.ComponentRecord]) -> record.RunRecord:
    return record.RunRecord(suite=record.SuiteRecord(name=plan.suite.name), components=components)


def twice(folder: Path, code: str, change: Callable[[Path], object], **more: str) -> str:
    """Run a plugin, change something in the folder where it is installed, run it again, and tell both results."""
    first = run(folder, code, **more)
    change(folder / "site")
    second = run(folder, code, **more)
    return f"{first.said}; then {'computed again' if second.computed else '0 stages computed'}: {second.said}"


def files(folder: Path, **contents: str) -> Path:
    """Write text files into the folder where the plugin is installed; ``_`` in a name is a dot."""
    for name, text in contents.items():
        path = folder / "site" / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def written(name: str, text: str) -> Callable[[Path], object]:
    """Return a function that writes a file."""
    return lambda site: (site / name).write_text(text, encoding="utf-8")


def exchanged(first: str, second: str, last: str) -> Callable[[Path], object]:
    """Return a function that gives the second file the name of the first one, which gets the last name."""

    def change(site: Path) -> None:
        (site / first).rename(site / last)
        (site / second).rename(site / first)

    return change


def program(value: str) -> str:
    """Return a shell script that prints a number."""
    return f"#!/bin/sh\necho {value}\n"


def with_program(folder: Path) -> Path:
    """Install a program beside the plugin."""
    files(folder, greyer=program("0.2"))
    (folder / "site" / "greyer").chmod(0o755)
    return folder


def with_package(folder: Path) -> Path:
    """Install a plugin that is a package with a file of data."""
    body = 'def protect(self, images, ctx):\n    return grey(images, (HERE / "level.txt").read_text())'
    site = files(folder, plugin=defense(body)) / "site"
    (site / "plugin_mine").mkdir()
    (site / "plugin").rename(site / "plugin_mine" / "__init__.py")
    (site / "plugin_mine" / "level.txt").write_text("0.2")
    write_metadata(site, "plugin_mine", "1.0", {"plugin_mine": "plugin_mine"})
    return folder


READS = """
def weights(self):
    return HERE / "level.txt"

def protect(self, images, ctx):
    return grey(images, (HERE / "level.txt").read_text())
"""
SILENT = READS.partition("def protect")[1] + READS.partition("def protect")[2]
NAMED = """
level: Path

def protect(self, images, ctx):
    return grey(images, self.level.read_text())
"""
NUMBERED = """
weights: float = 0.5

def protect(self, images, ctx):
    return grey(images, self.weights)
"""
READ_AGAIN = (
    "ok; reads .../level.txt, which is not part of its fingerprint; then computed again: ok; reads .../level.txt, ..."
)
LOADS = """
def load(self):
    network = super().load()
    with torch.no_grad():
        network.stem.weight.mul_(float((HERE / "level.txt").read_text()))
    return network
"""
LATE = """
def load(self):
    class Late(ToyNetwork):
        def features(self, images, splits):
            return super().features(images * float((HERE / "level.txt").read_text()), splits)

    return Late(0, self.embedding_size)
"""
GATHERS = """
def evaluation(self, pairs, ctx):
    faces, found = super().evaluation(pairs, ctx)
    images = (faces.images * float((HERE / "level.txt").read_text())).astype("uint8")
    return replace(faces, images=images), found
"""
COVERS = """
def fingerprint(self):
    return super().fingerprint() + file_sha256(HERE / "level.txt")
{}
"""
PARTS = """
from dataclasses import replace
from bench import file_sha256
from bench_toy.faces import ToyFaces
from bench_toy.models import ToyA
from bench_toy.networks import ToyNetwork
"""


def parts(folder: Path, body: str, use: str) -> str:
    """Run a plugin with a model or a data set that is called mine; write another file, and run it again."""
    base = {"model": "ToyA", "dataset": "ToyFaces"}[use]
    code = defense(body).replace("class Mine(Defense)", f"class Mine({base})")
    code = PARTS + code.replace("def bench_defenses", f"def bench_{use}s")
    return twice(files(folder, level_txt="0.5"), code, written("level.txt", "0.80"), use=use)


ASKS = """
def fingerprint(self):
    return (HERE / "version.txt").read_text()

def protect(self, images, ctx):
    return grey(images, (HERE / "version.txt").read_text())
"""
CALLS = """
programs = ("greyer",)

def protect(self, images, ctx):
    return grey(images, subprocess.run(["greyer"], capture_output=True, text=True, check=True).stdout)
"""
IMPORTS = """
def protect(self, images, ctx):
    {how}
    return grey(images, author.LEVEL)
"""
DYNAMIC = """
libraries = ("author_lib",)

def protect(self, images, ctx):
    return grey(images, importlib.import_module("author" + "_lib").LEVEL)
"""
WARNS = """
def protect(self, images, ctx):
    warnings.warn("the mask has another size than the face; it was scaled")
    return grey(images, 0.5)
"""
NOTHING = """
level: Path = Path()

def protect(self, images, ctx):
    return grey(images, 0.5 if self.level == Path() else 1)
"""
REBUILDS = """
sees = frozenset({"images"})
outputs = "images"

def weights(self):
    return [HERE / "level.txt"]

def reconstruct(self, received, ctx):
    return Reconstructed(images=torch.full_like(received.images, float((HERE / "level.txt").read_text())))
"""
SENDS = """
sends = frozenset({"feature"})

def protect(self, images, ctx):
    shapes = {"stem": (8, 16, 16), "block": (16, 8, 8)}
    return Protected(features={s: torch.full((len(images), *shapes[s]), 0.5) for s in ctx.uploaded})
"""
FEATURES = 'upload = "features"\nsplit = "last"\n'


def asks(line: str, **declared: str) -> str:
    """Return a defense that runs a line of code before it protects."""
    head = "".join(f"{name} = {value}\n" for name, value in declared.items())
    return defense(f"{head}def protect(self, images, ctx):\n    {line}\n    return grey(images, 0.5)")


def seen_by_attack(line: str, sees: str = "images") -> str:
    """Return an attack that runs a line of code before it reconstructs."""
    return attack(
        f'sees = frozenset({{"{sees}"}})\noutputs = "images"\n\ndef reconstruct(self, received, ctx):\n    {line}\n'
        "    return Reconstructed(images=torch.full((len(ctx.sample_ids), 3, *ctx.image_size), 0.5))"
    )


def library(folder: Path, value: str = "0.2") -> Path:
    """Install a package of the author beside the plugin."""
    files(folder, author="")
    (folder / "site" / "author").unlink()
    (folder / "site" / "author_lib.py").write_text(f"LEVEL = {value}\n")
    return folder


def deep_library(folder: Path) -> Path:
    """Install a package of the author that imports another one."""
    library(folder)
    (folder / "site" / "author_lib.py").write_text("from author_deep import LEVEL\n")
    (folder / "site" / "author_deep.py").write_text("LEVEL = 0.2\n")
    return folder


def told(folder: Path, **plugin: str) -> str:
    """Run a plugin once and tell what came out of it."""
    return outcome(lambda: run(folder, **plugin).said, folder)


AT_BLOCK = 'upload = "features"\nsplit = "block"'
FEATURE = 'frozenset({"feature"})'
AGAIN = "ok, 0.20; then computed again: ok, 0.80"
IN_NEEDS = "...NoSuchModelError: defense mine requested ctx.authorised[{}] but declares {} in its needs; declare ..."
KINDS = [
    KindOfInput(
        kind="a defense that declares the file that it reads; another file",
        expected=AGAIN,
        happened=lambda f: twice(files(f, level_txt="0.2"), defense(READS), written("level.txt", "0.80")),
    ),
    KindOfInput(
        kind="the same file, written again",
        expected="ok, 0.20; then 0 stages computed: ok, 0.20",
        happened=lambda f: twice(files(f, level_txt="0.2"), defense(READS), written("level.txt", "0.2")),
    ),
    KindOfInput(
        kind="a declared file that is missing",
        expected="refused: ...defenses[0]: site/level.txt: this file does not exist; put it there...",
        happened=lambda f: told(f, code=defense(READS)),
    ),
    KindOfInput(
        kind="a file named by a parameter; another content",
        expected=AGAIN,
        happened=lambda f: twice(
            files(f, level_txt="0.2"),
            defense(NAMED),
            written("level.txt", "0.80"),
            parameters=f'level = "{f}/site/level.txt"',
        ),
    ),
    KindOfInput(
        kind="a file in a folder named by a parameter; another content",
        expected=AGAIN,
        happened=lambda f: twice(
            files(f, levels__level_txt="0.2"),
            defense(NAMED.replace("level.read", 'level.joinpath("level.txt").read')),
            written("levels/level.txt", "0.80"),
            parameters=f'level = "{f}/site/levels"',
        ),
    ),
    KindOfInput(
        kind="files in a folder named by a parameter; they change names",
        expected=AGAIN,
        happened=lambda f: twice(
            files(f, levels__level_txt="0.2", levels__other_txt="0.80"),
            defense(NAMED.replace("level.read", 'level.joinpath("level.txt").read')),
            exchanged("levels/level.txt", "levels/other.txt", "levels/z.txt"),
            parameters=f'level = "{f}/site/levels"',
        ),
    ),
    KindOfInput(
        kind="a file named by a parameter, from the folder of the suite on",
        expected="ok, 0.20",
        happened=lambda f: told(files(f, level_txt="0.2"), code=defense(NAMED), parameters='level = "site/level.txt"'),
    ),
    KindOfInput(
        kind="a file named by a parameter with a variable that is not set",
        expected="refused: ...defenses[0].level = '$NO_SUCH/level.txt': the variable NO_SUCH is not set; set it, or...",
        happened=lambda f: told(f, code=defense(NAMED), parameters='level = "$NO_SUCH/level.txt"'),
    ),
    KindOfInput(
        kind="a parameter of the type Path that names nothing",
        expected="ok, 0.50",
        happened=lambda f: told(f, code=defense(NOTHING), parameters='level = ""'),
    ),
    KindOfInput(
        kind="a missing file named by a parameter",
        expected="refused: ...defenses[0]: site/level.txt: this file does not exist; put it there...",
        happened=lambda f: told(f, code=defense(NAMED), parameters=f'level = "{f}/site/level.txt"'),
    ),
    KindOfInput(
        kind="a file named by a parameter called weights; another content",
        expected=AGAIN,
        happened=lambda f: twice(
            files(f, level_txt="0.2"),
            defense(NAMED.replace("level", "weights")),
            written("level.txt", "0.80"),
            parameters=f'weights = "{f}/site/level.txt"',
        ),
    ),
    KindOfInput(
        kind="an older plugin with a parameter called weights",
        expected="ok, 0.30",
        happened=lambda f: told(f, code=defense(NUMBERED), parameters="weights = 0.3"),
    ),
    KindOfInput(
        kind="an older plugin with a parameter called weights that has no default",
        expected="refused: ...defenses[0].weights: expected a value (Mine has no default for it)...",
        happened=lambda f: told(f, code=defense(NUMBERED).replace("weights: float = 0.5", "weights: float")),
    ),
    KindOfInput(
        kind="a defense with a fingerprint of its own",
        expected=AGAIN,
        happened=lambda f: twice(files(f, version_txt="0.2"), defense(ASKS), written("version.txt", "0.80")),
    ),
    KindOfInput(
        kind="a program that is declared; another program",
        expected=AGAIN,
        happened=lambda f: twice(with_program(f), defense(CALLS), written("greyer", program("0.80"))),
    ),
    KindOfInput(
        kind="a declared program that is missing",
        expected="refused: ...defenses[0]: the program 'greyer' was not found; install it, or put...",
        happened=lambda f: told(f, code=defense(CALLS)),
    ),
    KindOfInput(
        kind="a program that is not declared",
        expected="ok, 0.20; calls greyer, which it does not declare in its programs",
        happened=lambda f: told(with_program(f), code=defense(CALLS.replace('("greyer",)', "()"))),
    ),
    KindOfInput(
        kind="a program that is called through a shell and not declared",
        expected="ok, 0.20; calls greyer, which it does not declare in its programs",
        happened=lambda f: told(
            with_program(f),
            code=defense(
                CALLS.replace('("greyer",)', "()").replace('["greyer"]', '"greyer -v 2>/dev/null", shell=True')
            ),
        ),
    ),
    KindOfInput(
        kind="a program that is not declared; another program",
        expected="ok, 0.20; calls greyer, ...; then computed again: ok, 0.80; calls greyer, ...",
        happened=lambda f: twice(
            with_program(f), defense(CALLS.replace('("greyer",)', "()")), written("greyer", program("0.80"))
        ),
    ),
    KindOfInput(
        kind="code that Python is told to run, which is no command for a shell",
        expected=f"ok, 0.20; calls {sys.executable}, which it does not declare in its programs",
        happened=lambda f: told(
            f,
            code=defense(
                CALLS.replace('("greyer",)', "()").replace('["greyer"]', f'["{sys.executable}", "-c", "print(0.2)"]')
            ),
        ),
    ),
    KindOfInput(
        kind="a checkpoint of PyTorch that is not declared",
        expected="ok, 0.20; reads .../level.pth, which it does not declare in weights()",
        happened=lambda f: told(files(f, level_pth="0.2"), code=defense(SILENT.replace("level.txt", "level.pth"))),
    ),
    KindOfInput(
        kind="a file that is not declared; another file",
        expected="ok, 0.20; reads ...; then computed again: ok, 0.80; reads ...",
        happened=lambda f: twice(files(f, level_txt="0.2"), defense(SILENT), written("level.txt", "0.80")),
    ),
    KindOfInput(
        kind="a file that is not declared, unchanged",
        expected="ok, 0.20; reads ...; then 0 stages computed: ok, 0.20; reads ...",
        happened=lambda f: twice(files(f, level_txt="0.2"), defense(SILENT), lambda site: None),
    ),
    KindOfInput(
        kind="a file that is not declared",
        expected="ok, 0.20; reads .../level.txt, which it does not declare in weights()",
        happened=lambda f: told(files(f, level_txt="0.2"), code=defense(SILENT)),
    ),
    *(
        KindOfInput(kind=f"a {what}", expected=expected, happened=lambda f, c=code, u=use: parts(f, c, u))
        for what, use, code, expected in (
            ("model whose load() reads a file that is not part of its fingerprint", "model", LOADS, READ_AGAIN),
            ("model whose forward reads a file that is not part of its fingerprint", "model", LATE, READ_AGAIN),
            ("data set that reads a file that is not part of its fingerprint", "dataset", GATHERS, READ_AGAIN),
            (
                "model whose fingerprint covers what load() reads",
                "model",
                COVERS.format(LOADS),
                "ok; then computed again: ok",
            ),
            (
                "data set whose fingerprint covers what it reads",
                "dataset",
                COVERS.format(GATHERS),
                "ok; then computed again: ok",
            ),
        )
    ),
    KindOfInput(
        kind="a package of the author, imported at the top",
        expected=AGAIN,
        happened=lambda f: twice(
            library(f),
            defense(IMPORTS.format(how="pass")).replace(
                "import torch\n", "import torch\nimport author_lib as author\n"
            ),
            written("author_lib.py", "LEVEL = 0.80\n"),
        ),
    ),
    KindOfInput(
        kind="a package of the author, imported in a method",
        expected=AGAIN,
        happened=lambda f: twice(
            library(f),
            defense(IMPORTS.format(how="import author_lib as author")),
            written("author_lib.py", "LEVEL = 0.80\n"),
        ),
    ),
    KindOfInput(
        kind="a package that a package of the author imports",
        expected=AGAIN,
        happened=lambda f: twice(
            deep_library(f),
            defense(IMPORTS.format(how="import author_lib as author")),
            written("author_deep.py", "LEVEL = 0.80\n"),
        ),
    ),
    KindOfInput(
        kind="a library that is declared, imported by a name made at run time",
        expected=AGAIN,
        happened=lambda f: twice(library(f), defense(DYNAMIC), written("author_lib.py", "LEVEL = 0.80\n")),
    ),
    KindOfInput(
        kind="a declared library that is missing",
        expected="refused: ...defenses[0]: libraries: expected an installed package, found no 'author_lib'; install it",
        happened=lambda f: told(f, code=defense(DYNAMIC)),
    ),
    KindOfInput(
        kind="a file of data in the package of a defense",
        expected=AGAIN,
        happened=lambda f: twice(with_package(f), "", written("plugin_mine/level.txt", "0.80")),
    ),
    KindOfInput(
        kind="an attack that declares the file that it reads; another file",
        expected=AGAIN,
        happened=lambda f: twice(
            files(f, level_txt="0.2"), attack(REBUILDS), written("level.txt", "0.80"), use="attack"
        ),
    ),
    KindOfInput(
        kind="a warning while a face is protected",
        expected="ok, 0.50; the mask has another size than the face; it was scaled",
        happened=lambda f: told(f, code=defense(WARNS)),
    ),
    KindOfInput(
        kind="a defense that sends features and needs nothing",
        expected="ok, 0.50",
        happened=lambda f: told(f, code=defense(SENDS), more=FEATURES),
    ),
    KindOfInput(
        kind="a defense that sends images and features, and needs nothing",
        expected="ok, ...",
        happened=lambda f: told(
            f,
            code=defense(
                SENDS.replace('{"feature"}', '{"feature", "image"}').replace("Protected(", "Protected(images=images, ")
            ),
            more=FEATURES,
        ),
    ),
    KindOfInput(
        kind="a defense that forgot to declare the networks that it uses",
        expected=IN_NEEDS.format(0, "nothing"),
        happened=lambda f: told(f, code=asks("ctx.network(ctx.authorised[0])")),
    ),
    KindOfInput(
        kind="a defense that forgot to declare the shallow model",
        expected=IN_NEEDS.format(-1, "subjects"),
        happened=lambda f: told(f, code=asks("ctx.shallow(ctx.authorised[-1])", needs='frozenset({"subjects"})')),
    ),
    KindOfInput(
        kind="a second authorised model where there is one",
        expected="...NoSuchModelError: defense mine requested ctx.authorised[1]; authorised here: 1 model (toy-a)",
        happened=lambda f: told(f, code=asks("ctx.shallow(ctx.authorised[1])", needs='frozenset({"shallow"})')),
    ),
    KindOfInput(
        kind="a whole network where only the shallow part is declared",
        expected="...CapabilityError: defense mine requested 'full_gradients' but declares shallow in its needs...",
        happened=lambda f: told(f, code=asks("ctx.network(ctx.authorised[0])", needs='frozenset({"shallow"})')),
    ),
    KindOfInput(
        kind="a model that is not authorised",
        expected="...ContractError: defense mine requested the model 'toy-b'; did you mean 'toy-a'?",
        happened=lambda f: told(f, code=asks('ctx.shallow("toy-b")', needs='frozenset({"shallow"})')),
    ),
    KindOfInput(
        kind="a split point that the model does not have",
        expected="...ContractError: no split point 'blok'; did you mean 'block'?",
        happened=lambda f: told(
            f, code=asks('ctx.shallow("toy-a").features(images, ["blok"])', needs='frozenset({"shallow"})')
        ),
    ),
    KindOfInput(
        kind="a defense that forgot to declare that it learns",
        expected="...NoStateError: defense mine requested ctx.state['mean'], and has learnt nothing; declare...",
        happened=lambda f: told(f, code=asks('ctx.state["mean"]')),
    ),
    KindOfInput(
        kind="an attack that forgot to declare what it sees",
        expected="...NoSuchModelError: attack mine requested ctx.authorised[0]; declare 'features' or ...",
        happened=lambda f: told(f, code=seen_by_attack("ctx.shallow(ctx.authorised[0])"), use="attack"),
    ),
    KindOfInput(
        kind="a defense that asks where features are uploaded, and images are",
        expected="...NotSentError: defense mine requested ctx.uploaded[0], and no features are uploaded here",
        happened=lambda f: told(f, code=asks("ctx.uploaded[0]")),
    ),
    KindOfInput(
        kind="a defense that asks for a second split point where one is uploaded",
        expected="...NotSentError: defense mine requested ctx.uploaded[1], and features at block are uploaded here",
        happened=lambda f: told(
            f, code=asks("ctx.uploaded[1]", sends=FEATURE), more='upload = "features"\nsplit = "block"'
        ),
    ),
    KindOfInput(
        kind="an attack that takes features and does not declare that it sees them",
        expected="...NotSentError: attack mine requested received.features['stem'], and gets no features; declare ...",
        happened=lambda f: told(f, code=seen_by_attack("received.features['stem']"), use="attack"),
    ),
    KindOfInput(
        kind="an attack that takes features at a split point that it does not get",
        expected="...NotSentError: attack mine requested received.features['blok']; did you mean 'block'?",
        happened=lambda f: told(f, code=seen_by_attack("received.features['blok']", "features"), use="attack"),
    ),
    KindOfInput(
        kind="an attack that takes a representation where the defense sends none",
        expected="...NotSentError: attack mine requested received.representation['a'], and the defense sends no ...",
        happened=lambda f: told(f, code=seen_by_attack("received.representation['a']"), use="attack"),
    ),
    KindOfInput(
        kind="an attack that wants the weights and sees features only",
        expected="...attack mine requested 'shallow', which it does not declare; declare 'shallow_weights' in its sees",
        happened=lambda f: told(f, code=seen_by_attack("ctx.shallow(ctx.authorised[0])", "features"), use="attack"),
    ),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_kinds_of_plugins(kind: KindOfInput, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    check(kind, tmp_path, record_property)


def test_files_of_installed_packages_are_passed_over(tmp_path: Path) -> None:
    later = time.time() + 9
    for name in ("net.pth", "site-packages/a/b.json", "x-1.0.dist-info/METADATA", "x.egg-info/PKG-INFO", "a.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
        assert undeclared._is_input(tmp_path / name, [], later) == (name == "net.pth"), name


def test_only_folders_of_the_system_are_passed_over() -> None:
    folders = [Path(folder) for folder in undeclared._SYSTEM]

    def counts(path: str) -> bool:
        return not any(Path(path).is_relative_to(folder) for folder in folders)

    assert all(map(counts, ("/var/lib/models/net.pth", "/usr/local/share/net.bin", "/usr/share/models/a", "/opt/a")))
    assert not any(map(counts, ("/etc/hosts", "/usr/share/zoneinfo/UTC", "/usr/lib/x/y", f"{sys.prefix}/lib/a/b.json")))
