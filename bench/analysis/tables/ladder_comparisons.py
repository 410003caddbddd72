"""The measurements of the leakage ladder beside their baselines, with the scores by which both are compared.

All comparisons of a rung are tested as one family (`bench.analysis.chance_tests`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench.analysis.cells import CellRow
from bench.analysis.chance_tests import AgainstChance, ChanceTest, beyond_chance
from bench.analysis.measured_pools import measured
from bench.analysis.measures import metric_named
from bench.analysis.pooling import Pool, SampleScores
from bench.analysis.rows import Rows
from bench.analysis.sample_metric import LINKED, RECOGNISED, SampleMetric
from bench.analysis.sample_values import numbers
from bench.analysis.table_model import Measurement, TableMetric, absent
from bench.analysis.tables.attributes import estimated
from bench.analysis.tables.row_layout import sides_of
from bench.analysis.tables.summary import BASELINES, baselines

Rung = Literal["pixels", "identity", "linkage", "attributes"]
RUNGS: tuple[Rung, ...] = ("pixels", "identity", "linkage", "attributes")
OTHERS, CONSTANT = "answers on other people", "constant answer"
PIXELS = ("ssim", "psnr", "lpips")
_NO_JUDGE = "no held-out recogniser evaluates it"
_NO_PICTURE = "this attack links uploads, and shows no picture"
_NO_LINKS = "this attack links no uploads"
_NO_ATTRIBUTES = "the suite runs no attribute attack on what this attack ends with"
LABELS = {
    "ssim": "SSIM",
    "psnr": "PSNR",
    "lpips": "LPIPS",
    "fmr-match": "matched to this photo",
    "enrolled-match": "matched to another photo",
    "rank-1": "first of all originals",
    "link-match": "pairs linked",
    "link-auc": "link AUC",
}
# The measured chance level of each metric of identity, and of links.
_CHANCE = {
    "fmr-match": "impostor-match",
    "enrolled-match": "impostor-match-enrolled",
    "rank-1": "rank-1-chance",
}
_LINK_CHANCE = {"link-match": "link-match-chance", "link-auc": "link-auc-chance"}
_AGAINST = {
    "fmr-match": "strangers matched at the same threshold",
    "enrolled-match": "strangers matched at the same threshold",
    "rank-1": "chance",
    "link-match": "different people of the same known groups, or permuted pairs, linked at the same threshold",
    "link-auc": "different people of the same known groups, or permuted pairs",
}

# The defense, its parameters, the authorised models, the kind of upload, and the attack that made the picture.
Where = tuple[str, str, str, str, str]


def where(cell: CellRow) -> Where:
    """Return the key that assigns the attributes estimated on a picture to the attack that made the picture."""
    return cell.defense, cell.settings, cell.authorised, cell.upload, cell.picture


@dataclass(frozen=True, kw_only=True)
class BaselineComparison:
    """A measurement beside its baseline, the measurement where nothing of the face is left.

    ``against`` is the name of the baseline. ``above`` is the test of whether the measurement lies beyond the baseline,
    on the side that leaks, corrected for the number of comparisons on the same rung. ``below`` is the test of the other
    side, which exists for SSIM only and is corrected for the comparisons of SSIM. None if there is nothing to test.
    """

    rung: Rung
    label: str
    metric: TableMetric
    measurement: Measurement
    baseline: Measurement
    against: str
    above: ChanceTest | None = None
    below: ChanceTest | None = None

    @property
    def leaks(self) -> bool | None:
        """True if it lies beyond the baseline, on the side that leaks; None if either has no value."""
        if self.measurement.status == "infinite":  # The picture equals the original.
            return True
        if self.measurement.value is None or self.baseline.value is None or self.above is None:
            return None
        return self.above.beyond

    @property
    def safe(self) -> bool:
        """True if it lies significantly beyond the baseline, on the side that does not leak."""
        return self.below is not None and self.below.beyond


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A comparison before it is tested; ``compared`` are its scores, None if it has none to compare, and ``turned``
    those for the test of the other side, None if only one side is tested."""

    comparison: BaselineComparison
    compared: AgainstChance | None
    turned: AgainstChance | None = None


# The candidates of one comparison; several only for attributes, which several attacks may have estimated.
Candidates = Sequence[Candidate]


class CandidateBuilder:
    """Builds the comparisons of attacks from their cells, and caches image baselines and attributes.

    ``described`` are the cells that estimate attributes, by experiment and attack, of each kind of picture.
    """

    def __init__(self, rows: Rows, described: Mapping[Where, Mapping[str, Mapping[str, Sequence[CellRow]]]]) -> None:
        self.rows = rows
        self.described = described
        self.sides = sides_of(rows.cells)
        self.held: dict[str, Mapping[str, Mapping[str, Measurement]]] = {}
        self.pools: dict[tuple[str, str], Pool] = {}
        described_in = [e for e in rows.experiments if any(e in of for of in described.values())]
        self.attributes = estimated(rows, *described_in) if described_in else []
        self.links = any(c.outputs in LINKED for c in rows.cells)

    def candidates(self, cells: Sequence[CellRow]) -> list[Candidates]:
        """Return the candidates of each comparison of an attack on a defense, rung by rung.

        An attack that links uploads has no picture, and so neither pixels nor attributes.
        """
        judges = [c for c in cells if c.outputs != "attributes" and self.sides.judges(c)]
        identity = self.against_chance(judges, "identity", _CHANCE, _NO_JUDGE, RECOGNISED)
        links = self.against_chance(judges, "linkage", _LINK_CHANCE, _NO_LINKS, LINKED) if self.links else []
        alone = [[c] for c in (*self.pixels(cells), *identity, *links)]
        pictured = cells[0].outputs not in LINKED
        return [*alone, *(self.attribute(cells[0], name, pictured) for name in self.attributes)]

    def pixels(self, cells: Sequence[CellRow]) -> list[Candidate]:
        """Compare each similarity of pictures with the most similar kind of pictures without the face."""
        experiment = cells[0].experiment
        if experiment not in self.held:
            self.held[experiment] = baselines(self.rows, experiment)
        made = []
        metrics = [metric_named(name) for name in PIXELS]
        pictured = cells[0].outputs not in LINKED
        for metric, (found, pool) in zip(metrics, measured(self.rows, cells, *metrics), strict=True):
            name = metric.name
            known = {kind: of[name] for kind, of in self.held[experiment].items() if of[name].value is not None}
            least = metric.better == "higher"
            most = (min if least else max)(known, key=lambda kind: known[kind].value or 0.0, default=None)
            baseline = known[most] if most else absent("missing", "no baselines were measured")
            chance = self.baseline_pool(experiment, f"{name}_{most}") if most else None
            about = BaselineComparison(
                rung="pixels",
                label=LABELS[name],
                metric=metric,
                measurement=replace(found, role="any") if pictured else absent("not tested", _NO_PICTURE),
                baseline=baseline,
                against=BASELINES[most] if most else "",
            )
            candidate = _candidate(about, metric, pool, chance)
            if name == "ssim" and (tried := candidate.compared) is not None:
                candidate = replace(candidate, turned=replace(tried, sign=-tried.sign))
            made.append(candidate)
        return made

    def baseline_pool(self, experiment: str, column: str) -> Pool:
        """Return the scores of pictures without the face; their rows have no people, so that each counts as its own."""
        if (experiment, column) not in self.pools:
            pool = self.pools[experiment, column] = Pool()
            for dataset, own in self.rows.baselines_of(experiment).groupby("dataset", sort=False):
                values = numbers(own, column)
                if values is not None:
                    pool.add(SampleScores(values, own["sample_id"].to_numpy(), f"{dataset}, without the face"))
        return self.pools[experiment, column]

    def against_chance(
        self, cells: Sequence[CellRow], rung: Rung, levels: Mapping[str, str], otherwise: str, outputs: frozenset[str]
    ) -> list[Candidate]:
        """Compare each metric of a rung, by held-out recognisers, with its measured chance level, the other name of
        ``levels``; ``otherwise`` is why an attack without these ``outputs`` has none."""
        judges = [c for c in cells if c.outputs in outputs]
        metrics = [metric_named(name) for of in levels.items() for name in of]
        read = (
            dict(zip((m.name for m in metrics), measured(self.rows, judges, *metrics), strict=True)) if judges else {}
        )
        made = []
        for name, chance in levels.items():
            nothing = absent("not tested", otherwise), Pool()
            (found, pool), (baseline, level) = read.get(name, nothing), read.get(chance, nothing)
            about = BaselineComparison(
                rung=rung,
                label=LABELS[name],
                metric=metric_named(name),
                measurement=replace(found, role="unauthorised") if judges else found,
                baseline=baseline,
                against=_AGAINST[name],
            )
            made.append(_candidate(about, metric_named(name), pool, level))
        return made

    def attribute(self, cell: CellRow, name: str, pictured: bool = True) -> list[Candidate]:
        """Compare an attribute, in each of its estimates, with the same answers on other people, or with a constant
        answer in runs that did not permute them. None is estimated if the attack has no picture."""
        metrics = [metric_named(f"{family}:{name}") for family in ("similarity", "permuted", "baseline")]
        by_experiment = self.described.get(where(cell), {}) if pictured else {}
        own = by_experiment.get(cell.experiment)
        made = []
        for by_attack in [own] if own else by_experiment.values():
            for cells in by_attack.values():
                (found, pool), permuted, constant = measured(self.rows, cells, *metrics)
                against, (baseline, level) = OTHERS, permuted
                if baseline.value is None:
                    against, (baseline, level) = CONSTANT, constant
                about = self.described_as(name, found, baseline, against)
                made.append(_candidate(about, metrics[0], pool, level))
        nothing = absent("not tested", _NO_ATTRIBUTES)
        return made or [Candidate(comparison=self.described_as(name, nothing, nothing, OTHERS), compared=None)]

    def described_as(self, name: str, found: Measurement, baseline: Measurement, against: str) -> BaselineComparison:
        """Return the comparison of an attribute, not tested yet."""
        metric = metric_named(f"similarity:{name}")
        return BaselineComparison(
            rung="attributes", label=name, metric=metric, measurement=found, baseline=baseline, against=against
        )


def _candidate(about: BaselineComparison, metric: SampleMetric, found: Pool, chance: Pool | None) -> Candidate:
    """Return a comparison with the scores to test it by, if both sides have some."""
    known = about.measurement.value is not None and about.baseline.value is not None and chance is not None and chance.n
    sign = -1 if metric.better == "higher" else 1
    if not known or chance is None:
        return Candidate(comparison=about, compared=None)
    compared = AgainstChance(found=found, chance=chance, sign=sign, share=metric.share, sampled=metric.sampled)
    return Candidate(comparison=about, compared=compared)


# ---- tests -----------------------------------------------------------------------------------------------------------


def untested(candidates: Candidates) -> list[Candidate]:
    """Return candidates that are not tested and belong to no family: they are shown and conclude nothing."""
    return [replace(c, compared=None, turned=None) for c in candidates]


def tested(entries: Sequence[Sequence[Candidates]]) -> list[list[BaselineComparison]]:
    """Return the comparisons of each entry, tested together with all others of their rung.

    Of several estimates of an attribute, the one with the lowest p-value is returned; all are part of the family.
    """
    every = [c for entry in entries for candidates in entry for c in candidates if c.compared is not None]
    above: dict[int, ChanceTest] = {}
    for rung in RUNGS:
        own = [c for c in every if c.comparison.rung == rung]
        tests = beyond_chance([c.compared for c in own if c.compared is not None])
        above |= dict(zip(map(id, own), tests, strict=True))
    both = [(id(c), c.turned) for c in every if c.turned is not None]
    tests = beyond_chance([turned for _, turned in both])
    below = dict(zip((known for known, _ in both), tests, strict=True))

    def order(candidate: Candidate) -> tuple[float, float]:
        test = above.get(id(candidate))
        return (1.0, 0.0) if test is None else (test.p, -test.difference)

    chosen = [[min(candidates, key=order) for candidates in entry] for entry in entries]
    return [[replace(c.comparison, above=above.get(id(c)), below=below.get(id(c))) for c in entry] for entry in chosen]
