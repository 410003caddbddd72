"""A formal guarantee is that of one upload; a row shows what follows for all that the attack received."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import write_plugin

from bench import Attack, Bound
from bench.analysis.tables.goals import bound_in_words, declared_bound
from bench.core.domain import Side
from bench.planning.bounds import received, recorded
from bench.planning.plan import make_plan
from bench.registry.discovery import Registry
from bench.suite.suite import load

NOISE = Bound(words="private", epsilon=0.5)
SHARE = Bound(words="(0, 0.1)-private")
GROUPS = Bound(words="one of 5", k=5)
PLAIN: dict[str, Any] = {}
EIGHT = {"uploads": 8}
PHOTOS = {"uploads": 3, "uploads_of": "person"}
LINKS = {"outputs": "links"}
LEARNS = {"trains_on": "defense"}
LEAKED = {"trains_on": "evaluated"}
NOT_COVERED = "it does not cover the unprotected uploads of the same faces that the attack learns from"
APART = "one of 5; several releases of the same people: k holds for each alone"


@pytest.mark.parametrize(
    ("declared", "attack", "side", "words"),
    [
        (NOISE, PLAIN, "probe", "private (epsilon = 0.5)"),
        (NOISE, LEARNS, "probe", "private (epsilon = 0.5)"),
        (NOISE, LEAKED, "probe", f"private; {NOT_COVERED} (epsilon = 0.5)"),
        (GROUPS, LEAKED | LINKS, "probe", f"{APART}; {NOT_COVERED}"),
        (
            NOISE,
            EIGHT,
            "probe",
            "private, for each of 8 uploads; for all of them together up to 8 times as much (epsilon = 4)",
        ),
        (
            SHARE,
            EIGHT,
            "probe",
            "(0, 0.1)-private, for each of 8 uploads; for all of them together up to 8 times as much",
        ),
        (GROUPS, EIGHT, "probe", "one of 5 (k = 5)"),
        (NOISE, PHOTOS, "probe", "private, for each of 3 pictures of a person alone (epsilon = 0.5)"),
        (NOISE, LINKS, "both", "private, for each of 2 pictures of a person alone (epsilon = 0.5)"),
        (GROUPS, PHOTOS, "both", APART),
        (GROUPS, LINKS, "probe", APART),
        (GROUPS, LINKS, "both", "one of 5 (k = 5)"),
    ],
)
def test_what_is_left_of_a_guarantee(declared: Bound, attack: dict[str, Any], side: Side, words: str) -> None:
    spent = received(declared, type("Tried", (Attack,), attack)(), side, leaky=attack.get("trains_on") == "evaluated")
    row = recorded(declared, spent)
    assert bound_in_words(row) == words
    assert json.loads(declared_bound(row)) == vars(declared)
    assert ("declared" in json.loads(row)) == (spent != declared)


PLUGIN = '''\
from bench import Attack, Bound, Defense, Protected, hookimpl

class Noise(Defense):
    """Noise."""

    def bound(self):
        return Bound(words="private", epsilon=0.5)

    def protect(self, images, ctx):
        return Protected(images=images)

class Mean(Attack):
    """Looks at the mean of several uploads."""

    outputs = "recognition"
    sees = frozenset({"images", "uploads"})
    uploads = 4

    def embed(self, received, ctx):
        return ctx.evaluated()(received.images)

@hookimpl
def bench_defenses():
    return {"noise-in-words": Noise}

@hookimpl
def bench_attacks():
    return {"mean-of-uploads": Mean}
'''
SUITE = """\
[suite]
name = "plan"

[[experiment]]
name = "plan"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a"]
defenses = ["identity", "noise-in-words"]
attacks = ["abuse", "mean-of-uploads"]
pairs = 4
"""


def test_each_row_has_the_guarantee_of_what_its_attack_received(
    tmp_path: Path,
    toy_site: Path,
    monkeypatch: pytest.MonkeyPatch,
    sites_of_their_own: Callable[[Path], Registry],
) -> None:
    monkeypatch.syspath_prepend(str(toy_site))
    registry = sites_of_their_own(write_plugin(tmp_path / "site", "plugin_noise", PLUGIN))
    path = tmp_path / "plan.toml"
    path.write_text(SUITE, encoding="utf-8")
    cells = make_plan(load(path, registry), registry, "cpu").cells
    found = {(c.defense.label, c.attack.label): c.bound and json.loads(c.bound)["epsilon"] for c in cells}
    assert found == {
        ("identity", "abuse"): None,
        ("identity", "mean-of-uploads"): None,
        ("noise-in-words", "abuse"): 0.5,
        ("noise-in-words", "mean-of-uploads"): 2.0,
    }
