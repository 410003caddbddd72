"""The leakage ladder: what remains of the pixels, the identity and the attributes of a face after each attack.

The three rungs can disagree: a picture can be less similar to the original than a picture without the face, and
held-out recognisers still match it to the person. So every measurement is shown beside its baseline, the same metric
where nothing of the face is left: pictures without the face, the false match rate (FMR) of the threshold, chance, a
constant answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench.analysis.measures import measure, metric_named, select
from bench.analysis.rows import CellRow, Rows
from bench.analysis.table_model import ROW_KINDS, Column, Measurement, Metric, Row, RowGroup, RowKind, Table, absent
from bench.analysis.tables.attributes import estimated
from bench.analysis.tables.row_layout import kind_of, sides_of
from bench.analysis.tables.summary import BASELINES, POOLED, baselines
from bench.core.text import plural

Rung = Literal["pixels", "identity", "attributes"]
SAFE, LEAKY, DESCRIBED = "pixel-safe", "identity-leaky", "attribute-leaky"
BOTH = "safe by pixels, leaky by identity"
MEANING = {
    SAFE: "the whole 95 % interval of SSIM lies at or below the highest baseline: the mean SSIM of the most similar "
    "pictures that hold nothing of the face",
    LEAKY: "the lower end of the 95 % interval of the match rate lies above the false match rate (FMR) at which its "
    "threshold was calibrated",
    DESCRIBED: "the 95 % interval of an attribute excludes what a constant answer scores, on the side that leaks",
    BOTH: f"both {SAFE} and {LEAKY}: by its pixels the face is gone, and other networks still find the person",
}
UPLOADED = "as uploaded"
PIXELS = ("ssim", "psnr", "lpips")
_NO_JUDGE = "no held-out recogniser evaluates it"
_NO_ATTRIBUTES = "the suite runs no attribute attack on what this attack ends with"
_CONSTANT = "a constant of the protocol"
_LABELS = {
    "ssim": "SSIM",
    "psnr": "PSNR",
    "lpips": "LPIPS",
    "fmr-match": "matched at the calibrated FMR",
    "rank-1": "first of all originals",
}


@dataclass(frozen=True, kw_only=True)
class BaselineComparison:
    """A measurement beside its baseline, the measurement where nothing of the face is left.

    ``against`` is the name of the baseline.
    """

    rung: Rung
    label: str
    metric: Metric
    measurement: Measurement
    baseline: Measurement
    against: str

    @property
    def leaks(self) -> bool | None:
        """True if the whole interval lies beyond the baseline, on the side that leaks.

        Without an interval, the value decides. None if the measurement or the baseline has no value.
        """
        found, baseline = self.measurement, self.baseline.value
        if found.status == "infinite":  # The picture equals the original.
            return True
        if found.value is None or baseline is None:
            return None
        if self.metric.better == "higher":
            return (found.value if found.high is None else found.high) < baseline
        return (found.value if found.low is None else found.low) > baseline

    @property
    def safe(self) -> bool:
        """True if the whole interval lies at the baseline or on the side that does not leak; False without an
        interval."""
        low, high, baseline = self.measurement.low, self.measurement.high, self.baseline.value
        if low is None or high is None or baseline is None:
            return False
        return low >= baseline if self.metric.better == "higher" else high <= baseline


@dataclass(frozen=True, kw_only=True)
class LadderEntry:
    """What one attack of an experiment on one defense reveals, rung by rung; data sets are pooled.

    ``leaky``: the attack learned from the people on whom it is evaluated, so that it never counts. ``rebuilt``: the
    attack makes a picture of its own.
    """

    experiment: str
    defense: str
    authorised: str
    attack: str
    rebuilt: bool
    kind: RowKind
    leaky: bool
    synthetic: bool
    comparisons: Sequence[BaselineComparison]

    def comparison(self, label: str) -> BaselineComparison:
        """Return the comparison with this label, one of `_LABELS`."""
        return next(r for r in self.comparisons if r.label == label)

    @property
    def match(self) -> BaselineComparison:
        """The match rate of held-out recognisers."""
        return self.comparison(_LABELS["fmr-match"])

    @property
    def ssim(self) -> BaselineComparison:
        """The similarity of pixels."""
        return self.comparison(_LABELS["ssim"])

    @property
    def both(self) -> bool:
        """True if it is safe by pixels and leaky by identity."""
        return self.ssim.safe and self.match.leaks is True

    @property
    def described(self) -> list[str]:
        """The attributes that leak."""
        return [r.label for r in self.comparisons if r.rung == "attributes" and r.leaks]

    @property
    def flags(self) -> list[str]:
        """The conclusions from all comparisons, by the keys of `MEANING`."""
        found = [BOTH] if self.both else [SAFE] * self.ssim.safe + [LEAKY] * (self.match.leaks is True)
        return found + ([f"{DESCRIBED}: {', '.join(self.described)}"] if self.described else [])


# ---- what is measured ------------------------------------------------------------------------------------------------

# The defense, its parameters, the authorised models, the kind of upload, and the attack that made the picture.
_Where = tuple[str, str, str, str, str]


def _where(cell: CellRow) -> _Where:
    return cell.defense, cell.settings, cell.authorised, cell.upload, cell.picture


def ladder(rows: Rows) -> list[LadderEntry]:
    """Return one entry for each attack on each defense of the run.

    Defenses that authorise models come first and the unprotected upload last. Within a defense, attacks are sorted by
    the share of matched people, highest first; attacks that learned from the evaluated people come last. If another
    experiment estimated attributes on the same pictures, they are in the entry of the attack that made the pictures; of
    several estimates, the one that leaks most counts.
    """
    climbed: dict[tuple[str, str, str, str], list[CellRow]] = {}
    described: dict[_Where, dict[str, dict[str, list[CellRow]]]] = {}  # Then by experiment and attack.
    for cell in select(rows, outputs=("recognition", "images")):
        climbed.setdefault((cell.experiment, cell.defense, cell.authorised, cell.attack), []).append(cell)
    known = {_where(cell) for own in climbed.values() for cell in own}
    alone: dict[tuple[str, _Where], list[CellRow]] = {}
    for cell in select(rows, outputs="attributes"):
        by_experiment = described.setdefault(_where(cell), {})
        by_experiment.setdefault(cell.experiment, {}).setdefault(cell.attack, []).append(cell)
        if _where(cell) not in known:
            alone.setdefault((cell.experiment, _where(cell)), []).append(cell)
    make = _LadderBuilder(rows, described)
    found = [make.entry(cells) for cells in (*climbed.values(), *alone.values())]
    order = {defense: i for i, defense in enumerate(dict.fromkeys(e.defense for e in found))}
    kinds: dict[str, int] = {}
    for e in found:
        kinds[e.defense] = min(kinds.get(e.defense, len(ROW_KINDS)), ROW_KINDS.index(e.kind))
    return sorted(found, key=lambda e: (-kinds[e.defense], order[e.defense], e.leaky, -_matched(e)))


def _matched(entry: LadderEntry) -> float:
    value = entry.match.measurement.value
    return -1.0 if value is None else value


class _LadderBuilder:
    """Builds entries from cells, and caches image baselines and attributes."""

    def __init__(self, rows: Rows, described: Mapping[_Where, Mapping[str, Mapping[str, Sequence[CellRow]]]]) -> None:
        self.rows = rows
        self.described = described
        self.sides = sides_of(rows.cells)
        self.held: dict[str, Mapping[str, Mapping[str, Measurement]]] = {}
        described_in = [e for e in rows.experiments if any(e in of for of in described.values())]
        self.attributes = estimated(rows, *described_in) if described_in else []

    def entry(self, cells: Sequence[CellRow]) -> LadderEntry:
        """Build the entry of one attack on one defense from its cells."""
        first = cells[0]
        judged = [c for c in cells if c.outputs != "attributes"]
        return LadderEntry(
            experiment=first.experiment,
            defense=first.defense,
            authorised=first.authorised,
            attack=_attack(first, judged),
            rebuilt=bool(first.picture),
            kind=kind_of(first),
            leaky=first.leaky,
            synthetic=any(c.synthetic for c in cells),
            comparisons=[
                *(self.pixels(cells, name) for name in PIXELS),
                *(self.identity(judged, name) for name in ("fmr-match", "rank-1")),
                *(self.attribute(first, name) for name in self.attributes),
            ],
        )

    def pixels(self, cells: Sequence[CellRow], name: str) -> BaselineComparison:
        """Compare a similarity of pictures with the most similar kind of pictures without the face."""
        metric = metric_named(name)
        experiment = cells[0].experiment
        if experiment not in self.held:
            self.held[experiment] = baselines(self.rows, experiment)
        known = {baseline: of[name] for baseline, of in self.held[experiment].items() if of[name].value is not None}
        least = metric.better == "higher"
        most = (min if least else max)(known, key=lambda baseline: known[baseline].value or 0.0, default=None)
        return BaselineComparison(
            rung="pixels",
            label=_LABELS[name],
            metric=metric,
            measurement=measure(self.rows, cells, metric, role="any"),
            baseline=known[most] if most else absent("missing", "no baselines were measured"),
            against=BASELINES[most] if most else "",
        )

    def identity(self, cells: Sequence[CellRow], name: str) -> BaselineComparison:
        """Compare re-identification by held-out recognisers with the FMR of the threshold or with chance."""
        judges = [c for c in cells if self.sides.judges(c)]
        thresholds = [t for c in judges if (t := self.rows.scores.threshold(c.cell)) is not None]
        if name == "fmr-match":
            rates, counts, against = [t.fmr for t in thresholds], [t.impostors for t in thresholds], "FMR"
        else:
            counts = [t.gallery for t in thresholds if t.gallery]
            rates, against = [1 / n for n in counts], "chance"
        constant = Measurement(value=sum(rates) / len(rates), n=min(counts), note=_CONSTANT) if rates else None
        return BaselineComparison(
            rung="identity",
            label=_LABELS[name],
            metric=metric_named(name),
            measurement=measure(self.rows, judges, name, role="unauthorised")
            if judges
            else absent("not tested", _NO_JUDGE),
            baseline=constant or absent("missing", "no threshold or rank was recorded"),
            against=against,
        )

    def attribute(self, cell: CellRow, name: str) -> BaselineComparison:
        """Compare an estimated attribute with a constant answer."""
        metric = metric_named(f"similarity:{name}")
        by_experiment = self.described.get(_where(cell), {})
        own = by_experiment.get(cell.experiment)
        sources = [own] if own else list(by_experiment.values())
        found = [
            (measure(self.rows, cells, f"similarity:{name}"), measure(self.rows, cells, f"baseline:{name}"))
            for by_attack in sources
            for cells in by_attack.values()
        ]
        nothing = absent("not tested", _NO_ATTRIBUTES)
        sign = -1.0 if metric.better == "higher" else 1.0
        worst = max(found, key=lambda pair: _beyond(pair[0], pair[1], sign), default=(nothing, nothing))
        return BaselineComparison(
            rung="attributes",
            label=name,
            metric=metric,
            measurement=worst[0],
            baseline=worst[1],
            against="constant answer",
        )


def _beyond(found: Measurement, baseline: Measurement, sign: float) -> float:
    """Return how far a value lies beyond its baseline on the side that leaks."""
    if found.value is None or baseline.value is None:
        return float("-inf")
    return sign * (found.value - baseline.value)


def _attack(first: CellRow, judged: Sequence[CellRow]) -> str:
    """Return the name of the attack for a reader; one that evaluates the upload unchanged is marked so."""
    if first.picture:
        return first.picture
    return f"{UPLOADED} ({first.attack})" if judged else UPLOADED


# ---- what it says ----------------------------------------------------------------------------------------------------


def counted(entries: Sequence[LadderEntry]) -> list[LadderEntry]:
    """Return the entries that count: attacks on protections that did not learn from the evaluated people."""
    return [e for e in entries if not e.leaky and e.kind != "clean"]


def deceptive(entries: Sequence[LadderEntry]) -> list[LadderEntry]:
    """Return the entries that count and are safe by pixels but leaky by identity, highest match rate first."""
    return sorted((e for e in counted(entries) if e.both), key=_matched, reverse=True)


def untried(entries: Sequence[LadderEntry]) -> dict[str, list[str]]:
    """Return the protections that were not tested by a kind of attack, by the name of what is missing."""
    protections = dict.fromkeys(e.defense for e in entries if e.kind != "clean")

    def without(tested: Callable[[LadderEntry], bool]) -> list[str]:
        tried = {e.defense for e in entries if tested(e)}
        return [d for d in protections if d not in tried]

    found = {
        "no reconstruction attack": without(lambda e: e.rebuilt and not e.leaky),
        "no held-out recogniser": without(lambda e: e.match.measurement.status != "not tested"),
        "no attribute attack": without(
            lambda e: any(r.measurement.status != "not tested" for r in e.comparisons if r.rung == "attributes")
        ),
    }
    return {what: defenses for what, defenses in found.items() if defenses}


def as_rows(entries: Sequence[LadderEntry]) -> list[Row]:
    """Return the entries as rows of a table.

    A row is named by its defense and attack, and by authorised models and experiment where these differ between rows.
    """
    aims: dict[str, set[str]] = {}
    for e in entries:
        aims.setdefault(e.defense, set()).update([e.authorised] if e.authorised else [])
    placed = len({e.experiment for e in entries}) > 1
    made = []
    for e in entries:
        aim = f" for {e.authorised}" if len(aims[e.defense]) > 1 and e.authorised else ""
        place = f" ({e.experiment})" if placed else ""
        made.append(
            Row(
                label=f"{e.defense}{aim}: {e.attack}{' (leakage)' if e.leaky else ''}{place}",
                kind=e.kind,
                measurements=[f for r in e.comparisons for f in (r.measurement, _named(r))],
                defense=e.defense,
                authorised=e.authorised,
                flags=e.flags,
            )
        )
    return made


def ladder_tables(rows: Rows) -> list[Table]:
    """Return the ladder as one table, in which each measurement is followed by its baseline."""
    entries = ladder(rows)
    if not entries:
        return []
    columns = []
    for r in entries[0].comparisons:
        columns.append(Column(label=r.label, metric=r.metric))
        baseline = "FMR" if r.against == "FMR" else "chance" if r.against == "chance" else f"baseline of {r.label}"
        columns.append(Column(label=baseline, metric=replace(r.metric, label=baseline, better="")))
    return [
        Table(
            name="ladder",
            title="What would break it?",
            caption="Every defense under every attack, data sets pooled: pixels, identity and attributes, each beside "
            "the baseline, which shows nothing of the face.",
            columns=columns,
            groups=[
                RowGroup(
                    label=POOLED,
                    rows=as_rows(entries),
                    synthetic=any(e.synthetic for e in entries),
                )
            ],
            experiment=" + ".join(dict.fromkeys(e.experiment for e in entries)),
            source="samples/images, samples/baselines (pixels), samples/verification (identity) and samples/attributes",
            row_heading="Defense: attack",
            ranked=False,
            notes=[*_untold(entries), *(f"{name}: {meaning}." for name, meaning in MEANING.items())],
        )
    ]


def _named(comparison: BaselineComparison) -> Measurement:
    """Return the baseline of a comparison; for pixels, its note is the kind of picture."""
    if comparison.baseline.value is None or comparison.rung != "pixels":
        return comparison.baseline
    return replace(comparison.baseline, note=comparison.against)


def _untold(entries: Sequence[LadderEntry]) -> list[str]:
    return [f"{plural(len(d), 'defense')} with {what}: {', '.join(d)}." for what, d in untried(entries).items()]
