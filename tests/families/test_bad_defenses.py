"""Defenses that contradict themselves or return something wrong: one clear reason or error each."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from textwrap import indent

import pytest
from support import Computed, skips, write_plugin

from bench.core.errors import PluginError
from bench.planning.plan import Plan, make_plan
from bench.registry.discovery import Registry
from bench.store.artifacts import Cache
from bench.suite.suite import load

PLUGIN = '''\
from dataclasses import dataclass, replace
import numpy as np
import torch
from bench import Bound, Defense, Protected, hookimpl
from bench_toy.faces import ToyFaces, faces

@dataclass(frozen=True, kw_only=True)
class Bad(Defense):
    """A defense for one test."""

    def protect(self, images, ctx):
        return Protected(images=images)
{defense}

@dataclass(frozen=True, kw_only=True)
class Album(ToyFaces):
    """Toy faces with further pictures."""

    def further_pictures(self, pairs):
        return 1

    def further(self, pairs, ctx):
        people = np.unique(self.evaluation(pairs, ctx)[0].subjects).tolist()
        return faces([(person, 7) for person in people], self.seed, "further")
{dataset}

@hookimpl
def bench_defenses():
    return {{"bad": Bad}}

@hookimpl
def bench_datasets():
    return {{"album": Album}}
'''
SUITE = """\
[suite]
name = "bad"

[[experiment]]
name = "bad"
datasets = ["album"]
authorised = ["toy-a"]
evaluated = ["toy-b"]
defenses = ["bad"]
pairs = 6
"""
PlanBad = Callable[..., Plan]
TEMPLATE = """
goal = "template"
protects = frozenset({"both"})
sends = frozenset({"representation"})
own_recogniser = True
recogniser_size = 3

def representation(self):
    return {"code": (3,)}

def protect(self, images, ctx):
    return Protected(representation={"code": images.mean((2, 3))})

def recogniser(self, ctx):
    return lambda received: received.representation["code"]
"""


@pytest.fixture
def plan_bad(
    tmp_path: Path, toy_site: Path, monkeypatch: pytest.MonkeyPatch, sites_of_their_own: Callable[[Path], Registry]
) -> PlanBad:
    """Return a function that plans a defense with these members, on a data set with those."""
    monkeypatch.syspath_prepend(str(toy_site))

    def make(defense: str, *, dataset: str = "", more: str = "") -> Plan:
        code = PLUGIN.format(defense=indent(defense, "    "), dataset=indent(dataset, "    "))
        registry = sites_of_their_own(write_plugin(tmp_path / "site", "plugin_bad", code))
        path = tmp_path / "bad.toml"
        path.write_text(SUITE + more, encoding="utf-8")
        return make_plan(load(path, registry), registry, "cpu")

    return make


@pytest.fixture
def failures(plan_bad: PlanBad, tmp_path: Path) -> Callable[..., list[str]]:
    """Return a function that computes such a plan and returns the distinct reasons of its failures."""

    def compute(defense: str, **more: str) -> list[str]:
        return list(dict.fromkeys(Computed(plan_bad(defense, **more), Cache(tmp_path / "cache")).failures()))

    return compute


# ---- contradictions, before anything is computed ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("defense", "more", "reason"),
    [
        (
            'needs = frozenset({"own_recognizer"})',
            "",
            "bad declares 'own_recognizer' in its needs; define recogniser() and declare own_recogniser = True instead",
        ),
        (
            'goal = "template"\nprotects = frozenset({"both"})',
            "",
            "bad has the goal 'template', whose pictures its own recogniser matches; define recogniser() and declare "
            "own_recogniser = True, or declare another goal",
        ),
        (
            TEMPLATE + "recogniser_size = 0",
            "",
            "bad declares own_recogniser; declare the length of its embeddings as recogniser_size, which is 0",
        ),
        (
            'own_recogniser = True\nrecogniser_size = 3\nprotects = frozenset({"both"})',
            "",
            "bad declares own_recogniser and has no recogniser(); define it, or do not declare it",
        ),
        (
            'sends = frozenset({"representation"})',
            "",
            "bad declares that it sends a representation and has no representation(); define it, so that it returns "
            "the shapes of the tensors by name",
        ),
        (
            'needs = frozenset({"labels"})',
            "",
            "bad declares 'labels' in its needs and not 'training', so that fit(), which gets them, is not called; "
            "declare both",
        ),
        (
            'goal = "appearance"\nsends = frozenset({"representation"})\n'
            'def representation(self):\n    return {"code": (3,)}',
            "",
            "bad has the goal 'appearance' and sends no image that people could look at; declare 'image' in its sends, "
            "or another goal",
        ),
        (
            TEMPLATE + 'protects = frozenset({"probe"})',
            "",
            "bad has a recogniser of its own, which matches protected with protected pictures, and declares that it "
            "protects probe; declare 'both' in its protects",
        ),
        (
            TEMPLATE + 'protects = frozenset({"probe", "both"})',
            'protects = "probe"',
            "bad has a recogniser of its own, which matches protected with protected pictures; set protects = \"both\" "
            "in the experiment",
        ),
        (
            'protects = frozenset({"gallery"})',
            'protects = "both"',
            "the experiment protects both, and bad declares that it protects gallery; set protects of the experiment "
            "to one of these",
        ),
        (
            'protects = frozenset({"gallery"})\nsends = frozenset({"feature"})',
            'upload = "features"',
            "features are uploaded for probes only; set upload of the experiment to images, or protects to probe",
        ),
        (
            'needs = frozenset({"surrogates"})',
            "",
            "bad needs surrogate models, and the experiment names none; add surrogates = [...], with models other than "
            "the evaluated ones",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)  # fmt: skip
def test_a_contradiction_is_a_skipped_row(plan_bad: PlanBad, defense: str, more: str, reason: str) -> None:
    plan = plan_bad(defense, more=more)
    assert set(skips(plan)) == {reason}
    assert not plan.stages


def test_nobody_has_further_pictures(plan_bad: PlanBad) -> None:
    plan = plan_bad(
        'needs = frozenset({"enrolment"})', dataset="def further_pictures(self, pairs):\n    return max(0, 4 - pairs)"
    )
    assert set(skips(plan)) == {
        "bad needs further pictures of the scored people (enrolment), and album has none beside those of its pairs; "
        "choose a data set with more pictures per person, or fewer pairs"
    }


def test_a_representation_that_no_attack_can_read(plan_bad: PlanBad) -> None:
    plan = plan_bad(TEMPLATE)
    assert skips(plan) == [
        "bad sends a representation and no image; abuse does not declare 'representation' in its sees"
    ]
    assert len(plan.cells) == 2, "its own recogniser can"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('"3 bits"', "defense bad: bound() must return bench.Bound, got str"),
        ("1 / 0", "defense bad: bound() failed with ZeroDivisionError: division by zero"),
        ('Bound(words="")', "defense bad: bound(): expected a sentence as words, got ''"),
        ("Bound(words=3)", "defense bad: bound(): expected a sentence as words, got 3"),
        (
            'Bound(words="It is private.", epsilon=-1.0)',
            "defense bad: bound(): expected a finite number of at least 0 as epsilon, got -1.0",
        ),
        (
            'Bound(words="It is private.", epsilon=float("inf"))',
            "defense bad: bound(): expected a finite number of at least 0 as epsilon, got inf",
        ),
        (
            'Bound(words="It is private.", k="four")',
            "defense bad: bound(): expected a finite number of at least 1 as k, got 'four'",
        ),
    ],
)
def test_a_guarantee_that_cannot_be_recorded(plan_bad: PlanBad, value: str, message: str) -> None:
    with pytest.raises(PluginError) as raised:
        plan_bad(f"def bound(self):\n    return {value}")
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("name", "value", "known"),
    [("goal", '"privacy"', "recognition"), ("control", '"none"', "learnable"),
     ("protects", 'frozenset({"left"})', "gallery"), ("needs", 'frozenset({"keys"})', "surrogates")],
)  # fmt: skip
def test_a_declaration_that_does_not_exist(plan_bad: PlanBad, name: str, value: str, known: str) -> None:
    with pytest.raises(Exception, match=rf"{name}.*{known}"):
        plan_bad(f"{name} = {value}")


def test_a_representation_of_another_form(plan_bad: PlanBad) -> None:
    with pytest.raises(Exception, match=r"representation\(\): expected a dict.*found \['code'\]"):
        plan_bad(f'{TEMPLATE}\ndef representation(self):\n    return ["code"]')


# ---- what is returned ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "words"),
    [
        (
            'def representation(self):\n    return {"code": (4,)}',
            "representation 'code': expected (6, 4), got torch.float32 (6, 3)",
        ),
        (
            'def representation(self):\n    return {"other": (3,)}',
            "representation() declares other; protect() returned code",
        ),
        (
            'def protect(self, images, ctx):\n    return Protected(images=images)',
            "representation() declares code; protect() returned nothing",
        ),
        (
            'def protect(self, images, ctx):\n    return Protected(representation=images)',
            "protect() must return tensors by name as representation, got torch.float32 (6, 3, 32, 32)",
        ),
        (
            'def protect(self, images, ctx):\n'
            '    return Protected(representation={"code": images.mean((2, 3)) * float("nan")})',
            "representation 'code' holds NaN or infinity",
        ),
        ("recogniser_size = 5", "expected embeddings of shape (6, 5), got (6, 3)"),
        ("def recogniser(self, ctx):\n    return None", "recogniser() must return a function, got <class 'NoneType'>"),
        (
            "def recogniser(self, ctx):\n    return lambda received: [1.0]",
            "expected embeddings as a torch tensor, got <class 'list'>",
        ),
        (
            'def recogniser(self, ctx):\n    return lambda received: received.representation["code"] * float("nan")',
            "embeddings hold NaN or infinity",
        ),
        ('def recogniser(self, ctx):\n    return lambda received: received.representation["code"] * 0', "is zero"),
        (
            'def recogniser(self, ctx):\n    raise RuntimeError("no recogniser today")',
            "RuntimeError: no recogniser today",
        ),
        (
            'def recogniser(self, ctx):\n    return lambda received: ctx.state["weights"]',
            "requested ctx.state['weights'], and has learnt nothing; declare 'training' in its needs",
        ),
    ],
    ids=lambda value: value[-40:],
)  # fmt: skip
def test_what_a_template_returns(failures: Callable[..., list[str]], members: str, words: str) -> None:
    found = failures(f"{TEMPLATE}\n{members}")
    assert found
    same_size = [re.sub(r"\(\d+, ", "(6, ", reason) for reason in found]  # Batches have several sizes.
    assert all(words in reason for reason in same_size), found
    assert all("defense bad" in reason for reason in found if reason.startswith("ContractError")), found


FURTHER = "def further(self, pairs, ctx):\n    scored = self.evaluation(pairs, ctx)[0]\n    "


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (
            f'{FURTHER}return faces([(555, 7)], self.seed, "further")',
            "the further faces of album show 1 person whom no scored picture shows, such as image further-555-7; "
            "further() must return pictures of the scored people only, with the same subject numbers",
        ),
        (
            f'{FURTHER}return faces([(0, 7)], self.seed, "further")',
            "who are scored, such as on image evaluation-1-0; correct further_pictures() or further()",
        ),
        (f"{FURTHER}return scored", "the evaluation faces of album and the further faces of album share 9 pictures"),
        (
            "def further(self, pairs, ctx):\n    return super(ToyFaces, self).further(pairs, ctx)",
            "Album has further_pictures() and no further()",
        ),
    ],
    ids=["other people", "too few people", "scored pictures", "nothing"],
)  # fmt: skip
def test_further_pictures(failures: Callable[..., list[str]], dataset: str, words: str) -> None:
    enrolling = 'needs = frozenset({"enrolment"})'
    (found,) = failures(enrolling, dataset=dataset)
    assert words in found


def test_targets_who_are_scored(failures: Callable[..., list[str]]) -> None:
    own = 'def auxiliary(self, ctx):\n    return faces([(0, 7), (1, 7)], self.seed, "auxiliary")'
    found = failures('needs = frozenset({"targets"})', dataset=own)
    assert len(found) == 1
    assert "the evaluation faces of album and the auxiliary faces of album share 2 people" in found[0]


def test_good_further_pictures_pass(failures: Callable[..., list[str]]) -> None:
    members = (
        'needs = frozenset({"enrolment", "subjects", "key"})\n'
        "def protect(self, images, ctx):\n"
        "    assert set(ctx.subjects.tolist()) == set(ctx.enrolment().subjects.tolist())\n"
        "    assert len(ctx.keys) == len(images)\n"
        "    return Protected(images=images)"
    )
    assert failures(members) == []
