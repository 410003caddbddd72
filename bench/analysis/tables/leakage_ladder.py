"""The leakage ladder: what remains of the pixels, the identity and the attributes of a face after each attack, and
whether two uploads of one person can be linked.

The rungs can disagree: a picture can be less similar to the original than a picture without the face, and
held-out recognisers still match it to the person. So every measurement is shown beside its baseline, the same metric
where nothing of the face is left: pictures without the face, strangers who are matched at the same threshold, chance,
the answers on other people. Whether a measurement lies beyond its baseline is tested with all others of its rung
(`bench.analysis.chance_tests`), so that more attacks do not make a false flag more likely.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.analysis.cells import CellRow
from bench.analysis.measures import select
from bench.analysis.rows import Rows
from bench.analysis.table_model import ROW_KINDS, Column, FlagLook, Measurement, Row, RowGroup, RowKind, Table
from bench.analysis.tables.goals import PURPOSES
from bench.analysis.tables.ladder_comparisons import (
    LABELS,
    RUNGS,
    BaselineComparison,
    CandidateBuilder,
    Where,
    tested,
    untested,
    where,
)
from bench.analysis.tables.questions import PRIMARY, by_design
from bench.analysis.tables.row_layout import kind_of
from bench.analysis.tables.self_checks import self_checks
from bench.analysis.tables.summary import POOLED
from bench.analysis.tables.tried_attacks import attacker_of
from bench.core.domain import Goal
from bench.core.text import joined_labels, plural

SAFE, LEAKY, LINKABLE, DESCRIBED = "pixel-safe", "identity-leaky", "linkable", "attribute-leaky"
BOTH = "safe by pixels, leaky by identity"
MEANING = {
    SAFE: "SSIM is significantly lower than the highest baseline: the mean SSIM of the most similar pictures that hold "
    "nothing of the face",
    LEAKY: "held-out recognisers match significantly more pictures to the person, on the very photo or on another one "
    "of the person, than they match to strangers at the same threshold",
    LINKABLE: "two uploads of one person score significantly higher, or are linked significantly more often, than "
    "pairs of different people of the same known groups are (where too few of these are known: than permuted pairs)",
    DESCRIBED: "the answers on an attribute are significantly nearer to those on the original than the same answers "
    "on other people are",
    BOTH: f"both {SAFE} and {LEAKY}: by its pixels the face is gone, and other networks still find the person",
}
TWO_FAMILIES = (
    "The verdict and this ladder can disagree about one attack, and both are right: the verdict corrects for all "
    "attacks on one defense, in all channels, and the ladder for all attacks on all defenses, rung by rung, so that a "
    "small difference can pass one of the two tests and not the other."
)
UPLOADED = "as uploaded"
BY_DESIGN = "the service itself: recognises by design, not counted"

_LOOKS: Mapping[str, FlagLook] = {BOTH: "both", SAFE: "safe"}


@dataclass(frozen=True, kw_only=True)
class LadderEntry:
    """What one attack of an experiment on one defense reveals, rung by rung; data sets are pooled.

    ``leaky``: the attack learned from the people on whom it is evaluated, so that it never counts. ``rebuilt``: the
    attack makes a picture of its own. ``remark`` is what else is to be said of the attack, empty for most: its attacker
    failed its self-check or is weak, or the service does what it is meant to. ``counts``: nothing of this forbids to
    count it. ``control``: the defense is a control of the run. ``links``: the attack links uploads.
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
    goal: Goal = "recognition"
    remark: str = ""
    counts: bool = True
    control: bool = False
    links: bool = False

    def comparison(self, label: str) -> BaselineComparison:
        """Return the comparison with this label, one of the values of `LABELS` or an attribute."""
        return next(r for r in self.comparisons if r.label == label)

    @property
    def match(self) -> BaselineComparison:
        """The match rate of held-out recognisers."""
        return self.comparison(LABELS[PRIMARY["leakage"]])

    @property
    def ssim(self) -> BaselineComparison:
        """The similarity of pixels."""
        return self.comparison(LABELS[PRIMARY["appearance"]])

    @property
    def enrolled(self) -> BaselineComparison | None:
        """The match rate of held-out recognisers to another picture of the person; None in a ladder without it."""
        return next((r for r in self.comparisons if r.label == LABELS["enrolled-match"]), None)

    @property
    def identified(self) -> bool:
        """True if the identity leaks: more matches than by chance, to this picture or to another one of the person."""
        return self.match.leaks is True or (self.enrolled is not None and self.enrolled.leaks is True)

    @property
    def linkable(self) -> bool:
        """True if two uploads of one person can be linked."""
        return any(r.leaks is True for r in self.comparisons if r.rung == "linkage")

    @property
    def both(self) -> bool:
        """True if it is safe by pixels and leaky by identity."""
        return self.hides_pixels and self.ssim.safe and self.identified

    @property
    def hides_pixels(self) -> bool:
        """True unless the goal of the defense is to keep the picture, so that its similarity is no leakage."""
        return PURPOSES[self.goal].hides_pixels

    @property
    def described(self) -> list[str]:
        """The attributes that leak; none where the goal keeps them on purpose."""
        hidden = PURPOSES[self.goal].hides_attributes
        return [r.label for r in self.comparisons if r.rung == "attributes" and r.leaks and hidden]

    @property
    def flags(self) -> list[str]:
        """The conclusions from all comparisons, by the keys of `MEANING`."""
        safe = self.hides_pixels and self.ssim.safe
        found = [BOTH] if self.both else [SAFE] * safe + [LEAKY] * self.identified
        found += [LINKABLE] * self.linkable
        found += [f"{DESCRIBED}: {', '.join(self.described)}"] if self.described else []
        return found + ([self.remark] if self.remark else [])


# ---- what is measured ------------------------------------------------------------------------------------------------


def ladder(rows: Rows) -> list[LadderEntry]:
    """Return one entry for each attack on each defense of the run.

    Defenses that authorise models come first and the unprotected upload last. Within a defense, attacks are sorted by
    the share of matched people, highest first; attacks that learned from the evaluated people come last. If another
    experiment estimated attributes on the same pictures, they are in the entry of the attack that made the pictures; of
    several estimates, the one that leaks most counts.
    """
    climbed: dict[tuple[str, str, str, str], list[CellRow]] = {}
    described: dict[Where, dict[str, dict[str, list[CellRow]]]] = {}  # Then by experiment and attack.
    for cell in select(rows, outputs=("recognition", "images", "links")):
        climbed.setdefault((cell.experiment, cell.defense, cell.authorised, cell.attack), []).append(cell)
    known = {where(cell) for own in climbed.values() for cell in own if cell.outputs != "links"}
    alone: dict[tuple[str, Where], list[CellRow]] = {}
    for cell in select(rows, outputs="attributes"):
        by_experiment = described.setdefault(where(cell), {})
        by_experiment.setdefault(cell.experiment, {}).setdefault(cell.attack, []).append(cell)
        if where(cell) not in known:
            alone.setdefault((cell.experiment, where(cell)), []).append(cell)
    make, attacked = CandidateBuilder(rows, described), [*climbed.values(), *alone.values()]
    remarks = [_remark(rows, cells[0]) for cells in attacked]
    candidates = [
        found if counts else [untested(c) for c in found]
        for found, (_, counts) in zip(map(make.candidates, attacked), remarks, strict=True)
    ]
    found = [
        _entry(cells, comparisons, *remark)
        for cells, comparisons, remark in zip(attacked, tested(candidates), remarks, strict=True)
    ]
    order = {defense: i for i, defense in enumerate(dict.fromkeys(e.defense for e in found))}
    kinds: dict[str, int] = {}
    for e in found:
        kinds[e.defense] = min(kinds.get(e.defense, len(ROW_KINDS)), ROW_KINDS.index(e.kind))
    return sorted(found, key=lambda e: (-kinds[e.defense], order[e.defense], e.leaky, -_matched(e)))


def _remark(rows: Rows, cell: CellRow) -> tuple[str, bool]:
    """Return what is to be said of an attack, empty for most, and whether its comparisons are tested nevertheless."""
    check = None if cell.leaky else self_checks(rows).get(attacker_of(cell))
    if check is not None and check.mark:
        return check.mark, not check.broken
    return (BY_DESIGN, False) if by_design(cell) else ("", True)


def _matched(entry: LadderEntry) -> float:
    value = entry.match.measurement.value
    return -1.0 if value is None else value


def _entry(
    cells: Sequence[CellRow], comparisons: Sequence[BaselineComparison], remark: str, counts: bool
) -> LadderEntry:
    """Return the entry of one attack on one defense, from its cells."""
    first = cells[0]
    return LadderEntry(
        experiment=first.experiment,
        defense=first.defense,
        authorised=first.authorised,
        goal=first.goal,
        attack=_attack(first, [c for c in cells if c.outputs != "attributes"]),
        rebuilt=bool(first.picture),
        kind=kind_of(first),
        leaky=first.leaky,
        synthetic=any(c.synthetic for c in cells),
        comparisons=comparisons,
        remark=remark,
        counts=counts,
        control=first.control is not None,
        links=first.outputs == "links",
    )


def _attack(first: CellRow, judged: Sequence[CellRow]) -> str:
    """Return the name of the attack for a reader; one that evaluates the upload unchanged is marked so."""
    if first.picture or first.outputs == "links":
        return first.picture or first.attack
    return f"{UPLOADED} ({first.attack})" if judged else UPLOADED


# ---- what it says ----------------------------------------------------------------------------------------------------


def counted(entries: Sequence[LadderEntry]) -> list[LadderEntry]:
    """Return the entries that count: attacks on protections, controls aside, that did not learn from the evaluated
    people and pass their self-check."""
    return [e for e in entries if e.counts and not e.leaky and e.kind != "clean" and not e.control]


def deceptive(entries: Sequence[LadderEntry]) -> list[LadderEntry]:
    """Return the entries that count and are safe by pixels but leaky by identity, highest match rate first."""
    return sorted((e for e in counted(entries) if e.both), key=_matched, reverse=True)


def untried(entries: Sequence[LadderEntry]) -> dict[str, list[str]]:
    """Return the protections that were not tested by a kind of attack, by the name of what is missing."""
    protections = dict.fromkeys(e.defense for e in entries if e.kind != "clean" and not e.control)

    def without(tested: Callable[[LadderEntry], bool]) -> list[str]:
        tried = {e.defense for e in entries if tested(e)}
        return [d for d in protections if d not in tried]

    found = {
        "no reconstruction attack": without(lambda e: e.rebuilt and not e.leaky),
        "no held-out recogniser": without(lambda e: e.match.measurement.status != "not tested"),
        **({"no linkage attack": without(lambda e: e.links)} if any(e.links for e in entries) else {}),
        "no attribute attack": without(
            lambda e: any(r.measurement.status != "not tested" for r in e.comparisons if r.rung == "attributes")
        ),
    }
    return {what: defenses for what, defenses in found.items() if defenses}


def corrected(entries: Sequence[LadderEntry]) -> str:
    """Return a sentence on the number of comparisons for which the flags are corrected."""
    sizes = {r.rung: r.above.family for e in entries for r in e.comparisons if r.above is not None}
    if not sizes:
        return "No flag was tested: every measurement or its baseline is missing."
    counts = ", ".join(f"{sizes[rung]} of {rung}" for rung in RUNGS if rung in sizes)
    return (
        f"Flags are corrected for the number of comparisons on their rung ({counts}): if nothing leaks on a rung, one "
        "of its flags is raised in at most 5 % of runs. Intervals are those of single measurements."
    )


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
                looks=_LOOKS,
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
        baseline = f"{'chance' if r.rung in ('identity', 'linkage') else 'baseline'} of {r.label}"
        columns.append(Column(label=baseline, metric=replace(r.metric, label=baseline, better="")))
    return [
        Table(
            name="ladder",
            title="What would break it?",
            caption="Every defense under every attack, data sets pooled: pixels, identity, links of two uploads and "
            "attributes, each beside the baseline, which shows nothing of the face.",
            columns=columns,
            groups=[
                RowGroup(
                    label=POOLED,
                    rows=as_rows(entries),
                    synthetic=any(e.synthetic for e in entries),
                )
            ],
            experiment=" + ".join(dict.fromkeys(e.experiment for e in entries)),
            source="samples/images, samples/baselines (pixels), samples/verification (identity), samples/links and "
            "samples/attributes",
            row_heading="Defense: attack",
            ranked=False,
            notes=[
                *_untold(entries),
                *(f"{name}: {meaning}." for name, meaning in MEANING.items()),
                corrected(entries),
                TWO_FAMILIES,
            ],
        )
    ]


def _named(comparison: BaselineComparison) -> Measurement:
    """Return the baseline of a comparison; for pixels, its note is the kind of picture."""
    if comparison.baseline.value is None or comparison.rung != "pixels":
        return comparison.baseline
    return replace(comparison.baseline, note=comparison.against)


def _untold(entries: Sequence[LadderEntry]) -> list[str]:
    return [f"{plural(len(d), 'defense')} with {what}: {joined_labels(d)}." for what, d in untried(entries).items()]
