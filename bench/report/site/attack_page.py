"""The page of an attacker: what it knows and may do, how strong it is on each defense, and whether it works."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.analysis.table_model import Measurement
from bench.analysis.tables.goals import CONTROLS
from bench.analysis.tables.self_checks import AttackerCheck, self_checks
from bench.analysis.tables.tried_attacks import RECOVERED, Attacker, attacker_of
from bench.core.domain import Channel
from bench.report.page.run_facts import params
from bench.report.page.threat_models import ThreatModelEntry, adversary
from bench.report.site.defense_page import MISSING, AttackLine, attack_line, known_by
from bench.report.site.documentation import documentation
from bench.report.site.links import Content, all_attacks
from bench.report.site.sources import Source


@dataclass(frozen=True, kw_only=True)
class ControlLine:
    """What an attacker did on a control: ``recovered`` is 0 % for chance, and 100 % for an attack that never fails."""

    name: str
    expected: str
    recovered: Measurement
    beats: bool | None


@dataclass(frozen=True, kw_only=True)
class CheckOfRun:
    """Whether an attacker works, by the controls of one run."""

    source: Source
    words: str
    broken: bool
    controls: Sequence[ControlLine]


@dataclass(frozen=True, kw_only=True)
class AttackerPage:
    """All that the page of an attacker shows. ``lines`` has what it found on the defenses of each board."""

    name: str
    path: str
    attacker: Attacker
    channel: Channel
    knowledge: str
    model: ThreatModelEntry
    params: str
    digest: str
    documentation: Sequence[str]
    boards: Sequence[tuple[str, Sequence[AttackLine]]]
    checks: Sequence[CheckOfRun]
    metric = RECOVERED

    @property
    def leaking(self) -> int:
        """On how many defenses it beat chance."""
        return sum(line.attack.leaks is True for _, lines in self.boards for line in lines)

    @property
    def tested(self) -> int:
        """On how many defenses it was measured and tested."""
        return sum(line.attack.leaks is not None for _, lines in self.boards for line in lines)


def attacker_pages(content: Content) -> list[AttackerPage]:
    """Return the page of each attacker of all runs."""
    return [_page(content, attacker, name) for attacker, name in content.attackers.items()]


def _page(content: Content, attacker: Attacker, name: str) -> AttackerPage:
    checks = [(s, found[attacker]) for s in content.sources if attacker in (found := self_checks(s.rows))]
    source, check = checks[0]
    cells = [c for c in source.rows.cells if not c.leaky and attacker_of(c) == attacker]
    component = source.run.component("attack", cells[0].attack)
    return AttackerPage(
        name=name,
        path=content.page_of_attacker(attacker),
        attacker=attacker,
        channel=check.channel,
        knowledge=known_by(cells[0]),
        model=adversary(source.rows, cells[0].attack, cells),
        params=params(cells[0].attack_params),
        digest=(component.origin.digest if component else None) or MISSING,
        documentation=documentation(content.installed, component),
        boards=[(title, lines) for title, lines in _lines(content, attacker) if lines],
        checks=[_check(own, one) for own, one in checks],
    )


def _lines(content: Content, attacker: Attacker) -> Iterator[tuple[str, list[AttackLine]]]:
    """Yield what an attacker found on the defenses of each board, the one that leaks most first."""
    for board, goal in content.goals:
        made = []
        for one in [*goal.ranked, *goal.unranked]:
            for attack, remark in all_attacks(one):
                if attack.attacker == attacker:
                    made.append(attack_line(attack, one.name, content.page_of(one), remark))
        made.sort(key=lambda line: -1.0 if line.measurement.value is None else line.measurement.value, reverse=True)
        several = f"{board.title}, " if len(content.boards) > 1 else ""
        yield f"{several}goal {goal.goal}", made


def _check(source: Source, check: AttackerCheck) -> CheckOfRun:
    controls = {c.defense: c.control for c in source.rows.cells if c.control is not None}
    return CheckOfRun(
        source=source,
        words=check.words,
        broken=bool(check.broken),
        controls=[
            ControlLine(
                name=label,
                expected=CONTROLS[control] if (control := controls.get(label)) else "",
                recovered=attack.worst.recovered,
                beats=attack.leaks,
            )
            for label, attack in check.tried.items()
        ],
    )
