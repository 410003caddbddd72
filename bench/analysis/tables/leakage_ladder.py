"""The leakage ladder: what each attack on each defense leaves of the pixels, the identity and the attributes of a face.

The three rungs disagree. A picture can be further from the original than one that holds nothing of the face, and still
be matched to the person by networks that took no part. So every figure stands beside what shows nothing: pictures
without the face, the false match rate of the threshold, chance, a constant answer.
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
    SAFE: "the whole 95 % interval of SSIM lies at or below the highest floor: the mean SSIM of the most similar "
    "pictures that hold nothing of the face",
    LEAKY: "the lower end of the 95 % interval of the match rate lies above the false match rate (FMR) at which its "
    "threshold was calibrated",
    DESCRIBED: "the 95 % interval of an attribute excludes what a constant answer scores, on the side that leaks",
    BOTH: f"both {SAFE} and {LEAKY}: the pixels say that the face is gone, and other networks still find the person",
}
UPLOADED = "as uploaded"
PIXELS = ("ssim", "psnr", "lpips")
_NO_JUDGE = "no model that took no part evaluates it"
_NO_ATTRIBUTES = "the suite asks no attribute attack on what this attack ends with"
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
    """A figure beside ``floor``, the figure of what shows nothing, which ``against`` names."""

    rung: Rung
    label: str
    metric: Metric
    measurement: Measurement
    baseline: Measurement
    against: str

    @property
    def leaks(self) -> bool | None:
        """Whether all of the interval lies beyond the floor, on the side that leaks; the figure itself where it has no
        interval. None without a figure or a floor."""
        found, baseline = self.measurement, self.baseline.value
        if found.status == "infinite":  # the picture is the original
            return True
        if found.value is None or baseline is None:
            return None
        if self.metric.better == "higher":
            return (found.value if found.high is None else found.high) < baseline
        return (found.value if found.low is None else found.low) > baseline

    @property
    def safe(self) -> bool:
        """Whether all of the interval lies at the floor or on the side that does not leak; never without one."""
        low, high, baseline = self.measurement.low, self.measurement.high, self.baseline.value
        if low is None or high is None or baseline is None:
            return False
        return low >= baseline if self.metric.better == "higher" else high <= baseline


@dataclass(frozen=True, kw_only=True)
class LadderEntry:
    """What an attack of an experiment on a defense leaves, data sets pooled, rung by rung. ``leaky``: the attack learnt
    from the people that it is evaluated on, so that it never counts; ``rebuilt``: it ends with a picture of its own."""

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
        """The reading of a label of `_LABELS`."""
        return next(r for r in self.comparisons if r.label == label)

    @property
    def match(self) -> BaselineComparison:
        """The match rate of models that took no part."""
        return self.comparison(_LABELS["fmr-match"])

    @property
    def ssim(self) -> BaselineComparison:
        """The similarity of pixels."""
        return self.comparison(_LABELS["ssim"])

    @property
    def both(self) -> bool:
        """Whether it is safe by pixels and leaky by identity."""
        return self.ssim.safe and self.match.leaks is True

    @property
    def described(self) -> list[str]:
        """The attributes that leak."""
        return [r.label for r in self.comparisons if r.rung == "attributes" and r.leaks]

    @property
    def flags(self) -> list[str]:
        """What the readings say together, by the keys of `MEANING`."""
        found = [BOTH] if self.both else [SAFE] * self.ssim.safe + [LEAKY] * (self.match.leaks is True)
        return found + ([f"{DESCRIBED}: {', '.join(self.described)}"] if self.described else [])


# ---- what is measured ------------------------------------------------------------------------------------------------

_Where = tuple[str, str, str, str, str]  # defense, its parameters, authorised, upload, and whose picture it is


def _where(cell: CellRow) -> _Where:
    return cell.defense, cell.settings, cell.authorised, cell.upload, cell.picture


def ladder(rows: Rows) -> list[LadderEntry]:
    """Every defense under every attack of the run: those that know a model first, no protection last; of each defense
    the attack after which most people are matched first, and attacks that learnt from the evaluated people last.

    Attributes that another experiment estimated on the same uploads stand with the attack whose pictures they are of;
    of several estimates the one that leaks most.
    """
    climbed: dict[tuple[str, str, str, str], list[CellRow]] = {}
    described: dict[_Where, dict[str, dict[str, list[CellRow]]]] = {}  # by experiment and attack
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
    """Makes entries of cells; floors and attributes are looked up once."""

    def __init__(self, rows: Rows, described: Mapping[_Where, Mapping[str, Mapping[str, Sequence[CellRow]]]]) -> None:
        self.rows = rows
        self.described = described
        self.sides = sides_of(rows.cells)
        self.held: dict[str, Mapping[str, Mapping[str, Measurement]]] = {}
        asked = [e for e in rows.experiments if any(e in of for of in described.values())]
        self.attributes = estimated(rows, *asked) if asked else []

    def entry(self, cells: Sequence[CellRow]) -> LadderEntry:
        """The entry of the cells of an attack on a defense."""
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
        """A similarity of pictures, beside the pictures without the face that are most similar."""
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
            baseline=known[most] if most else absent("missing", "no floors were measured"),
            against=BASELINES[most] if most else "",
        )

    def identity(self, cells: Sequence[CellRow], name: str) -> BaselineComparison:
        """Re-identification by the models that took no part, beside the rate or chance of hitting a stranger."""
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
            else absent("not asked", _NO_JUDGE),
            baseline=constant or absent("missing", "no threshold or rank was recorded"),
            against=against,
        )

    def attribute(self, cell: CellRow, name: str) -> BaselineComparison:
        """An estimated attribute, beside a constant answer."""
        metric = metric_named(f"similarity:{name}")
        by_experiment = self.described.get(_where(cell), {})
        own = by_experiment.get(cell.experiment)
        asked = [own] if own else list(by_experiment.values())
        found = [
            (measure(self.rows, cells, f"similarity:{name}"), measure(self.rows, cells, f"baseline:{name}"))
            for by_attack in asked
            for cells in by_attack.values()
        ]
        nothing = absent("not asked", _NO_ATTRIBUTES)
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
    """How far a figure lies beyond its floor on the side that leaks."""
    if found.value is None or baseline.value is None:
        return float("-inf")
    return sign * (found.value - baseline.value)


def _attack(first: CellRow, judged: Sequence[CellRow]) -> str:
    """The attack in words: what receives the upload as it is says so."""
    if first.picture:
        return first.picture
    return f"{UPLOADED} ({first.attack})" if judged else UPLOADED


# ---- what it says ----------------------------------------------------------------------------------------------------


def counted(entries: Sequence[LadderEntry]) -> list[LadderEntry]:
    """The entries that count: honest attacks on protections."""
    return [e for e in entries if not e.leaky and e.kind != "clean"]


def deceptive(entries: Sequence[LadderEntry]) -> list[LadderEntry]:
    """Of those that count, the ones that are safe by pixels and leaky by identity; most matched first."""
    return sorted((e for e in counted(entries) if e.both), key=_matched, reverse=True)


def untried(entries: Sequence[LadderEntry]) -> dict[str, list[str]]:
    """The protections on which a kind of attack was not asked at all: by what was not asked."""
    protections = dict.fromkeys(e.defense for e in entries if e.kind != "clean")

    def without(asked: Callable[[LadderEntry], bool]) -> list[str]:
        tried = {e.defense for e in entries if asked(e)}
        return [d for d in protections if d not in tried]

    found = {
        "no reconstruction attack": without(lambda e: e.rebuilt and not e.leaky),
        "no model that took no part": without(lambda e: e.match.measurement.status != "not asked"),
        "no attribute attack": without(
            lambda e: any(r.measurement.status != "not asked" for r in e.comparisons if r.rung == "attributes")
        ),
    }
    return {what: defenses for what, defenses in found.items() if defenses}


def as_rows(entries: Sequence[LadderEntry]) -> list[Row]:
    """Entries as rows of the table, named by defense, authorised models, attack and experiment as far as these tell
    them from others."""
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
    """The ladder as one table: every reading is followed by its floor."""
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
            "what shows nothing of the face.",
            columns=columns,
            groups=[
                RowGroup(
                    label=POOLED,
                    rows=as_rows(entries),
                    synthetic=any(e.synthetic for e in entries),
                )
            ],
            experiment=" + ".join(dict.fromkeys(e.experiment for e in entries)),
            source="samples/images and samples/floors (pixels), samples/verification (identity) and samples/attributes",
            row_heading="Defense: attack",
            ranked=False,
            notes=[*_untold(entries), *(f"{name}: {meaning}." for name, meaning in MEANING.items())],
        )
    ]


def _named(comparison: BaselineComparison) -> Measurement:
    """The floor of a reading, with what it is of."""
    if comparison.baseline.value is None or comparison.rung != "pixels":
        return comparison.baseline
    return replace(comparison.baseline, note=comparison.against)


def _untold(entries: Sequence[LadderEntry]) -> list[str]:
    return [f"{plural(len(d), 'defense')} with {what}: {', '.join(d)}." for what, d in untried(entries).items()]
