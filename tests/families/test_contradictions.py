"""Declarations of attacks that contradict each other, the experiment, or what the methods return."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support import Computed
from test_adversaries import suite

from bench.core.errors import PluginError
from bench.planning.plan import Plan
from bench.store.artifacts import Cache

PlanOf = Callable[..., Plan]
# The plugin with its parameters, further keys of the experiment, and the reason to skip; "" if nothing is wrong.
SKIPPED = {
    "learns without fit": (
        'declares", learns = "clean', "", "declares trains_on = 'clean' and has no fit(); define fit(), or declare"),
    "learns and embeds as if it had not": (
        'fits", learns = "clean', "", "outputs recognition and learns, and nothing uses it; define embed() or enrol()"),
    "learns and links as if it had not": (
        'fits", gives = "links", learns = "clean', "", "outputs links and learns, and nothing uses it; define link()"),
    "labels without learning": (
        'embeds", seen = ["images", "labels"], gives = "recognition', "", "declare trains_on, or leave 'labels' out"),
    "uploads that it does not see": (
        'embeds", many = 3, gives = "recognition', "", "declares uploads = 3 and does not see them"),
    "one upload where it sees several": (
        'embeds", seen = ["images", "uploads"], gives = "recognition', "", "sees several uploads and declares uploads"),
    "further uploads of pairs": (
        'embeds", seen = ["images", "uploads"], many = 2, gives = "links', "", "which compare two uploads, and"),
    "a budget of faces without learning": (
        'embeds", spends = "faces', "", "has a budget of auxiliary faces and learns from none"),
    "a budget of faces where it learns from scored faces": (
        'embeds", spends = "faces", learns = "evaluated', "", "learns from none (trains_on"),
    "queries without learning": (
        'embeds", seen = ["images", "defense"], spends = "queries', "", "has a budget of queries, which fit() may"),
    "queries of a defense that it does not see": (
        'embeds", spends = "queries", learns = "clean', "", "does not see the defense; declare 'defense' in its sees"),
    "features where it looks at images": (
        'embeds", learns = "clean', 'upload = "features"', "must see images, and features are uploaded here"),
    "links of uploads that are features, with the evaluated model": (
        'declares", seen = ["features"], gives = "links', 'upload = "features"', "features of one model mean nothing"),
    "links with images": ('declares", gives = "links', "", ""),
    "learning with a budget": ('embeds", learns = "defense", spends = "faces', "", ""),
    "queries": ('embeds", learns = "clean", seen = ["images", "defense"], spends = "queries', "", ""),
}  # fmt: skip


def test_an_attack_cannot_learn_from_a_defense_that_needs_further_pictures_of_its_people(
    plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Further pictures are those of scored people, and attacks learn from others."""
    from bench_toy.faces import ToyFaces

    monkeypatch.setattr(ToyFaces, "further_pictures", lambda self, pairs: 3)
    text = suite('{ label = "mine", plugin = "embeds", learns = "defense" }', "family-mask")
    plan = plan_of(text.replace("[[experiment]]", '[[experiment]]\nsurrogates = ["toy-a"]', 1))
    reasons = {c.attack.label: c.skip for c in plan.cells}
    assert reasons["abuse"] is None
    assert str(reasons["mine"]).startswith("mine learns from pictures of other people that family-mask has protected")


@pytest.mark.parametrize("name", SKIPPED)
def test_a_contradiction_is_a_skipped_row_in_words(plan_of: PlanOf, name: str) -> None:
    declared, more, reason = SKIPPED[name]
    plan = plan_of(suite(f'{{ label = "mine", plugin = "{declared}" }}', "negative") + more)
    (cell,) = [c for c in plan.cells if c.attack.label == "mine"]
    if not reason:
        assert cell.skip is None
        assert cell.stages
        return
    assert cell.skip is not None
    assert cell.skip.startswith("mine ") or "features of one model" in reason
    assert reason in cell.skip
    assert not cell.stages


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ('fits", gives = "images", learns = "clean', "mine learns from unprotected faces, which have no such"),
        ('fits", gives = "attributes", learns = "clean', "mine learns from unprotected faces, which have no such"),
        ('declares", gives = "attributes', None),
        ('fits", gives = "images", learns = "defense', None),
        ('declares", gives = "links', None),
    ],
)
def test_attacks_on_a_representation_need_no_unprotected_one(
    plan_of: PlanOf, declared: str, reason: str | None
) -> None:
    text = suite(f'{{ label = "mine", seen = ["representation"], plugin = "{declared}" }}', "family-block-dct")
    found = [
        c.skip for c in plan_of(text).cells if c.attack.label == "mine" and c.evaluated and c.evaluated.kind == "model"
    ]
    found += [c.skip for c in plan_of(text).cells if c.attack.label == "mine" and not c.evaluated]
    assert found
    for skip in found:
        assert (skip is None) == (reason is None)
        assert (skip or "").startswith(reason or "")


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("many = 0", "attack embeds: uploads: expected a number from 1 to 1,000, found 0; correct it"),
        ('spends = "face"', "attack mine: budget(): expected faces, steps, queries; did you mean 'faces'?"),
        (
            'spends = "steps", much = 0.5',
            "attack mine: budget(): steps: expected a whole number from 1 to 1,000,000,000,000, found 0.5",
        ),
        ('gives = "link"', "outputs: expected one of recognition, images, attributes, links, found 'link'"),
        ('seen = ["label"]', "sees: expected one of"),
    ],
)
def test_a_declaration_that_means_nothing_is_an_error_that_names_it(
    plan_of: PlanOf, declared: str, message: str
) -> None:
    with pytest.raises(PluginError) as caught:
        plan_of(suite(f'{{ label = "mine", plugin = "embeds", {declared} }}', "negative"))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("method", "value", "message"),
    [
        ("embed", lambda self, received, ctx: received.images, "embed(): expected float embeddings (14, d), got"),
        (
            "embed",
            lambda self, received, ctx: ctx.evaluated()(received.images)[:3],
            "expected float embeddings (14, d)",
        ),
        ("embed", lambda self, received, ctx: ctx.evaluated()(received.images) * float("nan"), "hold NaN or infinity"),
        ("embed", lambda self, received, ctx: received.images.zero_().flatten(1), "embed() changed what it received"),
        (
            "embed",
            lambda self, received, ctx: ctx.evaluated()(received.images)[:, :9],
            "length 9, and enrol() of length 64",
        ),
        ("enrol", lambda self, images, ctx: images.mean(), "attack mine: enrol(): expected float embeddings"),
    ],
)
def test_what_embed_and_enrol_return_is_checked(
    plan_of: PlanOf, tmp_path: Any, method: str, value: Any, message: str
) -> None:
    plan = plan_of(suite('{ label = "mine", plugin = "embeds" }', "negative").replace("pairs = 40", "pairs = 28"))
    from family_small import Embeds

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Embeds, method, value)
        failures = Computed(plan, Cache(tmp_path / "cache")).failures()
    assert any(message in text and "mine" in text for text in failures), failures


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda self, first, second, ctx: first.images, "attack mine: link(): expected scores (28,), got"),
        (lambda self, first, second, ctx: first.images.flatten(1)[:, 0] / 0, "link(): the scores hold NaN or infinity"),
        (lambda self, first, second, ctx: first.images.zero_()[:, 0, 0, 0], "link() changed what it received"),
    ],
)
def test_what_link_returns_is_checked(plan_of: PlanOf, tmp_path: Any, value: Any, message: str) -> None:
    text = suite('{ label = "mine", plugin = "declares", gives = "links" }', "negative")
    plan = plan_of(text.replace("pairs = 40", "pairs = 28"))
    from family_small import Declares

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Declares, "link", value)
        failures = Computed(plan, Cache(tmp_path / "cache")).failures()
    assert any(message in text for text in failures), failures


def test_an_attack_embeds_a_representation(plan_of: PlanOf, tmp_path: Any) -> None:
    text = suite('{ label = "mine", seen = ["representation"], plugin = "embeds" }', "coded")
    plan = plan_of(text.replace("pairs = 40", "pairs = 28"))
    from family_small import Embeds

    def embed(self: Any, received: Any, ctx: Any) -> Any:
        return received.representation["code"]

    def enrol(self: Any, images: Any, ctx: Any) -> Any:
        return images.unfold(2, 8, 8).unfold(3, 8, 8).mean((-1, -2)).flatten(1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Embeds, "embed", embed)
        patch.setattr(Embeds, "enrol", enrol)
        done = Computed(plan, Cache(tmp_path / "cache"))
    (cell,) = [c for c in plan.cells if c.attack.label == "mine" and not c.skip]
    assert {done.results[key].reason for key in cell.stages} == {None}
    rows = done.table("verification of coded by mine with toy-b on toy-faces", "verification")
    assert rows["cos_self"].min() > 0.999
