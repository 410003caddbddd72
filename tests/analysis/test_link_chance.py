"""The chance level of links: what a linker gains that knows only the known groups of people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from channels_run import CLEAN, A, channels_run
from fake_run import LINKAGE, rewritten
from support import benchmark

from bench.analysis.compare.sample_pairs import CellPair
from bench.analysis.link_chance import chance_pairs, in_words
from bench.analysis.measures import METRICS, measure
from bench.analysis.pooling import Pool
from bench.analysis.rows import Rows
from bench.analysis.sample_values import OperatingPoint
from bench.analysis.tables.linkage import linkage_tables
from bench.analysis.tables.recommendation import recommend
from bench.analysis.tables.tried_attacks import tried_attacks

PAIRS = 160


def gender(person: int) -> str:
    return "woman" if person // 2 % 2 else "man"


def linked_run(
    folder: Path, score: Callable[[pd.DataFrame], np.ndarray], people: Callable[[int], str] | None = gender
) -> Rows:
    """Write a run of one data set. Its even pairs show one person, and its odd ones two people, of one gender in every
    second of them. Permuted pairs score 0 and 1 by turns, as those of the other and of the same gender do."""
    known = {} if people is None else {"gender": people}
    run = channels_run(folder, {}, defenses=(CLEAN, A), attacks=(LINKAGE,), pairs=PAIRS, people=known).results

    def change(table: pd.DataFrame) -> None:
        pair = table["pair"].to_numpy()
        other = np.where(pair // 2 % 2 == 0, (pair + 4) % PAIRS, (pair + 2) % PAIRS)
        table["right_subject"] = np.where(table["same"], pair, other)
        table["score"] = score(table)
        table["permuted"] = (pair % 2).astype(float)
        table["kappa"] = 0.5
        wrong = table.loc[~table["same"], "score"].to_numpy()[None]  # Of both defenses, whose scores are equal.
        own = table["score"].to_numpy()[:, None]
        table["auc"] = np.where(table["same"], ((own > wrong) + 0.5 * (own == wrong)).mean(axis=1), np.nan)

    return Rows(rewritten(run, links=change))


def by_gender(table: pd.DataFrame) -> np.ndarray:
    """A linker that sees nothing but gender."""
    left, right = (table[f"{side}_subject"].map(gender) for side in ("left", "right"))
    return (left == right).to_numpy(float)


def paired(table: pd.DataFrame) -> None:
    """Give each first upload a partner two people on, who has the other gender for the last of every four."""
    table["alike_subject"] = (table["pair"] // 4 * 4 + np.array([1, 0, 3, 0])[table["pair"] % 4]) % PAIRS
    table["alike"] = (table["left_subject"].map(gender) == table["alike_subject"].map(gender)).astype(float)


def by_identity(table: pd.DataFrame) -> np.ndarray:
    return table["same"].to_numpy(float) + np.linspace(0, 0.1, len(table))


def found(rows: Rows, *names: str) -> list[float | None]:
    cells = [c for c in rows.cells if c.outputs == "links" and c.defense == "A"]
    return [measure(rows, cells, name).value for name in names]


def test_a_linker_that_knows_only_gender_is_at_chance(tmp_path: Path) -> None:
    """Half of the 80 pairs of different people have one gender: the AUC is (0.5 · 1 + 0.5 · 0.5), and so is chance."""
    rows = linked_run(tmp_path, by_gender)
    assert found(rows, "link-auc", "link-auc-chance") == [0.75, 0.75]
    assert found(rows, "link-match", "link-match-chance") == [1.0, 1.0]
    attacks, _ = tried_attacks(rows, [c for c in rows.cells if c.outputs == "links" and c.defense == "A"])
    assert attacks[0].leaks is False


def test_partners_of_the_same_groups_are_the_chance_where_rows_have_them(tmp_path: Path) -> None:
    """120 of 160 partners have the same gender, and all of them score 1: above half of the pairs of different people,
    and equal to the other half. The people are those of these partners, and the others are left out and counted."""
    rows = linked_run(tmp_path, by_gender)
    rows = Rows(rewritten(rows.results, links=paired))
    assert found(rows, "link-auc", "link-auc-chance") == [0.75, 0.75]
    assert found(rows, "link-match", "link-match-chance") == [1.0, 1.0]
    cell = next(c for c in rows.cells if c.outputs == "links" and c.defense == "A")
    chosen = chance_pairs(rows, cell, rows.links_of(cell))
    assert (chosen.column, chosen.groups, int(chosen.pairs.sum()), chosen.alone) == ("alike", ["gender"], 120, 40)
    assert chosen.second.tolist()[:4] == [1, 0, 3, 0]
    assert in_words(rows, [cell]) == (
        "Chance: two people of the same gender (120 pairs; without 40 of people who share these with nobody)."
    )


def test_a_linker_that_knows_the_identity_is_beyond_its_partners(tmp_path: Path) -> None:
    rows = linked_run(tmp_path, by_identity)

    def apart(table: pd.DataFrame) -> None:
        paired(table)
        table["alike"] = np.linspace(0, 0.1, len(table))

    rows = Rows(rewritten(rows.results, links=apart))
    assert found(rows, "link-match", "link-match-chance") == [1.0, 0.0]
    assert [e.leaking for e in recommend(rows).entries if e.name == "A"] == [["linkage"]]


def test_without_known_groups_it_is_beyond_permuted_pairs(tmp_path: Path) -> None:
    """Half of the permuted pairs score 1: their AUC is (0.75 + 0.25) / 2."""
    rows = linked_run(tmp_path, by_gender, people=None)
    assert found(rows, "link-auc", "link-auc-chance") == [0.75, 0.5]
    assert found(rows, "link-match", "link-match-chance") == [1.0, 0.5]
    attacks, _ = tried_attacks(rows, [c for c in rows.cells if c.outputs == "links" and c.defense == "A"])
    assert attacks[0].leaks is True


def test_a_linker_that_knows_the_identity_is_beyond_the_chance_of_groups(tmp_path: Path) -> None:
    rows = linked_run(tmp_path, by_identity)
    auc, chance = found(rows, "link-auc", "link-auc-chance")
    assert auc == 1.0
    assert chance == pytest.approx(0.5, abs=0.02)
    assert found(rows, "link-match", "link-match-chance") == [1.0, 0.0]
    assert [e.leaking for e in recommend(rows).entries if e.name == "A"] == [["linkage"]]


def test_the_caption_says_by_which_pairs_chance_was_measured(tmp_path: Path) -> None:
    rows = linked_run(tmp_path / "known", by_gender)
    (table,) = linkage_tables(rows, rows.experiments[0])
    assert table.caption.endswith("Chance: two people of the same gender (40 pairs).")
    rows = linked_run(tmp_path / "unknown", by_gender, people=None)
    assert in_words(rows, rows.cells) == "Chance: permuted pairs, because too few people of the same groups are known."


def test_groups_with_few_pairs_are_left_out(tmp_path: Path) -> None:
    """No pair of different people shows two of the same label."""
    rows = linked_run(tmp_path, by_gender, people=lambda i: f"group {i % 8}")
    cell = next(c for c in rows.cells if c.outputs == "links")
    chosen = chance_pairs(rows, cell, rows.links_of(cell))
    assert (chosen.column, chosen.groups, chosen.ignored) == ("permuted", (), ["gender"])
    assert chosen.pairs.all()
    assert in_words(rows, rows.cells).endswith("are known, of any gender, on which links may rest.")


def test_rarely_shared_groups_are_named_as_what_links_may_rest_on(tmp_path: Path) -> None:
    """All 40 pairs of the same gender show people of different age, in bands of 20 years."""
    rows = linked_run(tmp_path, by_gender)
    cell = next(c for c in rows.cells if c.outputs == "links")
    of = {"gender": gender, "age": lambda i: f"band {i % 8 // 2}"}
    rows.conclusions["labels"] = {k: {cell.dataset: {i: v(i) for i in range(PAIRS)}} for k, v in of.items()}
    assert in_words(rows, [cell]) == (
        "Chance: two people of the same gender (40 pairs), of any age, on which links may rest."
    )


def test_the_area_under_the_curve_has_delongs_error() -> None:
    """Three pairs of one person and four of two people, none of whom occurs twice: the variance of the mean is the sum
    of those of both sides, before the correction for few people."""
    links = benchmark("simulated_links")
    number = np.arange(7)
    same = number < 3
    rows = {"left_subject": number, "right_subject": np.where(same, number, number + 7), "same": same}
    table = links.with_areas(pd.DataFrame(rows | {"score": [1.0, 3.0, 3.0, 0.0, 1.0, 2.0, 4.0]}))
    scores = links.scores_of("link-auc", table)
    assert scores.values[:3].tolist() == [0.375, 0.75, 0.75]
    pulls = (np.array([1.0, 5 / 6, 2 / 3, 0.0]) - 0.625) / 4
    np.testing.assert_allclose(scores.pulls.influences, [0, 0, 0, *pulls])
    pool = Pool([scores])
    pairs, _, counts = pool.per_pair()
    found = pool.estimate(share=False)
    both = np.append((scores.values[:3] - 0.625) / 3, pulls)
    assert (found.mean, pool.n, pool.people, len(pool.contributors)) == (0.625, 3, ["set/0", "set/1", "set/2"], 11)
    assert found.error**2 == pytest.approx((both**2).sum() / pairs.correction(counts).bias)
    low, high = found.interval()
    assert 0 <= low < 0.625 < high <= 1
    alone = Pool([replace(scores, pulls=None)]).estimate(share=False)
    assert alone.error < found.error


def test_the_pulls_of_chance_are_those_of_the_two_uploads_where_partners_are_other_people(tmp_path: Path) -> None:
    rows = linked_run(tmp_path, by_gender)
    rows = Rows(rewritten(rows.results, links=paired))
    cell = next(c for c in rows.cells if c.outputs == "links" and c.defense == "A")
    scores = METRICS["link-auc-chance"].scores(rows, cell, OperatingPoint())
    assert scores is not None
    assert scores.pulls is not None
    pulls, right = scores.pulls, rows.links_of(cell)["right_subject"].tolist()
    assert (len(scores.values), len(pulls.influences), int(np.isfinite(scores.values).sum())) == (160, 160, 120)
    assert pulls.influences.any()
    assert pulls.influences.sum() == pytest.approx(0)
    assert scores.others is not None
    assert pulls.others is not None
    assert (scores.others.tolist() == right, pulls.others.tolist() == right) == (False, True)
    itself = CellPair((rows, rows), (cell, cell)).scores(METRICS["link-auc-chance"])
    assert itself is not None
    assert (itself.same, itself.left_out, itself.before.pulls is not None) == (True, 0, True)


def test_pairs_of_two_people_that_alone_differ_make_an_interval(tmp_path: Path) -> None:
    """Every pair of one person scores above the same half of the others."""
    rows = linked_run(tmp_path, by_gender)
    cells = [c for c in rows.cells if c.outputs == "links" and c.defense == "A"]
    found = measure(rows, cells, "link-auc")
    assert (found.value, found.n, found.people, found.interval) == (0.75, 160, 80, "clustered")
    assert found.low is not None
    assert found.high is not None
    assert 0.6 < found.low < 0.75 < found.high < 0.9


@pytest.mark.parametrize("method", ["one cell", "area of chance", "difference", "not beyond chance"])
def test_simulated_areas_of_links_are_covered(method: str) -> None:
    """A short form of ``make statistics``."""
    areas = benchmark("link_areas")
    of = (0.5,) if method == "not beyond chance" else (0.5, 0.95)
    for again in (False, True):
        scene = areas.Scene(method=method, again=again)
        assert all(areas.coverage(scene, area, 208, 150) >= 0.9 for area in of), scene.label
    alone = areas.Scene(method="one cell, from pairs of one person alone")
    assert areas.coverage(alone, 0.5, 208, 150) < 0.9


def test_simulated_false_alarms_and_power_of_links() -> None:
    """A short form of ``make statistics``: what only known groups say is no leak, and a recogniser of people is one."""
    links = benchmark("grouped_links")
    assert links.alarms(208, 60, links.Scene(view=3.0)) <= 0.1
    assert links.alarms(208, 20, links.Scene(view=1.0, leak=0.4)) >= 0.9
    assert links.alarms(208, 20, links.Scene(view=3.0, known=())) >= 0.9
    every = tuple(links.GROUPS)
    assert links.alarms(208, 60, links.Scene(groups=every, known=every, view=3.0)) <= 0.1
