"""The section "What is claimed": each claim of the suite, the comparison of measurements that decides it, and
whether it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.analysis import claim_results
from bench.analysis.claim_results import ClaimVerdict, Outcome
from bench.analysis.table_model import Measurement, TableMetric
from bench.suite.claims import SideTable

_RELATIONS = {"<=": "≤", ">=": "≥"}


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side of a claim: its name and its measurement. The name is empty if the side is a number in the suite."""

    name: str
    measurement: Measurement


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim and its verdict, as the page shows it.

    ``place`` is where its sentence is from: a section of the paper, or another source.
    ``difference`` is left minus right, and ``apart`` its metric (points for a difference of per cents). ``remarks`` are
    the details of the verdict besides its ``outcome``.
    """

    text: str
    place: str
    metric: TableMetric
    left: Side
    relation: str
    right: Side
    margin: str
    difference: Measurement
    apart: TableMetric
    outcome: Outcome
    remarks: str


def claims(judged: Sequence[ClaimVerdict], names: Mapping[str, str]) -> list[Claim]:
    """Return the judged claims in their order, each with the comparison that decides it; ``names`` are those of the
    defenses for readers, by the labels of the suite."""
    return [_claim(verdict, names) for verdict in judged]


def _claim(verdict: ClaimVerdict, names: Mapping[str, str]) -> Claim:
    """Return the claim of a verdict with the comparison that decides it."""
    claim, shown, metric = verdict.claim, verdict.decisive, verdict.metric
    return Claim(
        text=claim.text,
        place=claim.place,
        metric=metric,
        left=_side(claim.left, verdict, shown.left, names),
        relation=_RELATIONS.get(claim.relation, claim.relation),
        right=_side(claim.right, verdict, shown.right, names),
        margin=claim_results.margin(verdict).strip(),
        difference=shown.difference,
        apart=replace(metric, unit="points") if metric.unit == "%" else metric,
        outcome=verdict.outcome,
        remarks="; ".join(claim_results.verdict_parts(verdict, names)).removeprefix(verdict.outcome).lstrip("; "),
    )


def _side(side: SideTable | float, verdict: ClaimVerdict, found: Measurement, names: Mapping[str, str]) -> Side:
    name = claim_results.side_name(side, verdict.decisive.at, names) if isinstance(side, SideTable) else ""
    return Side(name=name, measurement=found)
