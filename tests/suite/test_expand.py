"""The two passes over a suite: references are written out in full, and each distinct one is resolved once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import MissingDataError, SuiteError
from bench.registry.discovery import Registry
from bench.suite.expand import expand
from bench.suite.resolve import Resolver
from bench.suite.suite import load
from bench.suite.tables import ExperimentTable, Reference

SUITE = """\
[suite]
name = "twice"

[[experiment]]
name = "one"
datasets = ["toy-faces"]
authorised = ["toy-a", ["toy-a", "toy-b"]]
evaluated = ["toy-b", "toy-a"]
defenses = ["identity"]
auxiliary = "toy-faces"

[[experiment]]
name = "two"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-b"]
defenses = ["identity", { plugin = "identity", label = "Clean" }]
"""


def table(**axes: Any) -> ExperimentTable:
    usual: dict[str, list[Reference]] = {"datasets": ["d"], "authorised": ["m"], "evaluated": ["m"], "defenses": ["i"]}
    return ExperimentTable.model_validate({"name": "one", **usual, **axes})


def test_every_reference_has_its_path_and_label() -> None:
    chain = {"plugin": "eyes", "via": {"plugin": "upsample", "gain": 2}}
    grid = {"plugin": "step", "rate": 0.5, "grid": {"steps": [1, 2], "layers": [["a", "b"]]}}
    special = {"plugin": "step", "label": "S", "steps": 3, "rate": 0.1, "on_stand_ins": {"steps": 1}}
    (found,) = expand([table(authorised=["m", ["m", "n"]], attacks=["x", chain], defenses=[grid, special])])
    assert [(r.where, r.label) for r in found.references()] == [
        ("experiment[0].authorised[0]", "m"),
        ("experiment[0].authorised[1][0]", "m"),
        ("experiment[0].authorised[1][1]", "n"),
        ("experiment[0].evaluated[0]", "m"),
        ("experiment[0].datasets[0]", "d"),
        ("experiment[0].attacks[0]", "x"),
        ("experiment[0].attacks[1]", "eyes via upsample"),
        ("experiment[0].defenses[0]", "step steps 1, layers a+b"),
        ("experiment[0].defenses[0]", "step steps 2, layers a+b"),
        ("experiment[0].defenses[1]", "S"),
    ]
    via = found.attacks[1].via
    assert via is not None
    assert (via.where, via.name, via.passed) == ("experiment[0].attacks[1].via", "upsample", {"gain": 2})
    assert found.defenses[0].passed == {"rate": 0.5, "steps": 1, "layers": ["a", "b"]}
    other = found.defenses[2].on_stand_ins
    assert other is not None
    assert (other.where, other.label) == ("experiment[0].defenses[1].on_stand_ins", "S")
    assert (found.defenses[2].passed, other.passed) == ({"steps": 3, "rate": 0.1}, {"steps": 1, "rate": 0.1})


def test_references_have_equal_keys_if_only_their_paths_differ() -> None:
    (found,) = expand([table(evaluated=["m", {"plugin": "m"}, {"plugin": "m", "x": 1}, {"plugin": "m", "x": 1.0}])])
    keys = [reference.key for reference in found.evaluated]
    assert keys[0] == keys[1] == found.authorised[0][0].key
    assert len(set(keys)) == 3


def test_each_distinct_reference_is_resolved_once(tmp_path: Path, registry: Registry) -> None:
    resolved: Counter[str] = Counter()

    class Counting(Resolver):
        def _resolve(self, reference: Any) -> Any:
            resolved[f"{reference.kind} {reference.label}"] += 1
            return super()._resolve(reference)

    path = tmp_path / "twice.toml"
    path.write_text(SUITE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.suite.suite.Resolver", Counting)
        suite = load(path, registry)
    assert set(resolved.values()) == {1}
    assert sorted(resolved) == [
        "attack abuse",
        "dataset toy-faces",
        "defense Clean",
        "defense identity",
        "model toy-a",
        "model toy-b",
    ]
    one, two = suite.experiments
    assert one.evaluated[1] is one.authorised[0][0] is one.authorised[1][0] is two.authorised[0][0]
    assert one.auxiliary is one.datasets[0] is two.datasets[0]


def test_everything_that_is_missing_is_listed_in_one_pass(
    plan_text: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing files of all kinds are listed, also for components of a grid."""
    from bench_toy.attacks import ToyAttributes

    def missing(self: ToyAttributes) -> str:
        raise MissingDataError("no eyes")

    monkeypatch.setattr(ToyAttributes, "fingerprint", missing)
    text = SUITE.replace('"toy-a"]', '{ plugin = "toy-published", label = "L" }]')
    photos = 'experiment[0].datasets=[{ plugin = "toy-photos", grid = { shown = [true, false] } }]'
    attacks = 'experiment[0].attacks=["toy-attributes", { plugin = "toy-attributes", label = "Eyes" }]'
    with pytest.raises(MissingDataError) as caught:
        plan_text(text, 'suite.data="real"', photos, attacks)
    head, *lines = str(caught.value).splitlines()
    assert head.endswith('suite.toml: the suite requires real data (data = "real"), and these are missing:')
    begins = [
        "L: ",
        "toy-photos shown True: photos/toys.txt",
        "toy-photos shown False: ",
        "toy-attributes: no",
        "Eyes: no",
    ]
    assert len(lines) == len(begins) + 1
    assert all(line.startswith(f"  {begin}") for line, begin in zip(lines, begins, strict=False))
    assert "--data auto" in lines[-1]


@pytest.mark.parametrize("label", ["a\n", "a\rb", "a\tb", "a\u202eb", "a\u200bb", "\x1b[2J", "a\u2028b"])
def test_a_label_shows_all_its_characters_in_one_line(label: str) -> None:
    with pytest.raises(
        SuiteError, match=r"defenses\[0\]\.label: expected (a text in one line|no character that nobody)"
    ):
        expand([table(defenses=[{"plugin": "step", "label": label}])])


@pytest.mark.parametrize("label", ["PMT (reference)", "pmt  (Reference) "])
def test_a_defense_cannot_have_the_mark_of_a_reference_row(label: str) -> None:
    with pytest.raises(SuiteError, match=r"defenses\[0\]\.label: .* ends like the names of defenses"):
        expand([table(defenses=[{"plugin": "step", "label": label}])])
