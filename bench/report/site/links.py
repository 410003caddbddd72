"""What the pages of a site know of each other: the boards, and the path of the page of each thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from bench.analysis.tables.self_checks import self_checks
from bench.analysis.tables.tried_attacks import Attacker, TriedAttack, names_of
from bench.report.site.documentation import Installed
from bench.report.site.paths import PageKind, PagePaths
from bench.report.site.sources import Source
from bench.report.site.standings import Board, GoalBoard, Standing
from bench.store.run_record import ComponentRecord

ComponentKey = tuple[str, str, str | None]
BY_DESIGN = "by design, and not counted"


@dataclass(frozen=True, kw_only=True)
class Content:
    """Everything that a site shows: boards, the runs that they were made from, and the plugins that are installed."""

    boards: Sequence[Board]
    sources: Sequence[Source]
    installed: Installed
    paths: PagePaths = field(default_factory=PagePaths)

    @property
    def goals(self) -> list[tuple[Board, GoalBoard]]:
        """The tables of all boards, in their order."""
        return [(board, goal) for board in self.boards for goal in board.goals]

    @cached_property
    def standings(self) -> Sequence[Standing]:
        """Every defense that has a page, once: a control stands on the boards of several goals."""
        found: dict[str, Standing] = {}
        for _, goal in self.goals:
            for one in goal.standings:
                found.setdefault(self.page_of(one), one)
        return list(found.values())

    @cached_property
    def attackers(self) -> Mapping[Attacker, str]:
        """The name of each attacker of all runs."""
        return names_of([attacker for source in self.sources for attacker in self_checks(source.rows)])

    def components(self, kind: str) -> Mapping[ComponentKey, list[tuple[Source, ComponentRecord]]]:
        """Return the components of a kind in all runs; the same one in several runs is one entry."""
        found: dict[ComponentKey, list[tuple[Source, ComponentRecord]]] = {}
        for source in self.sources:
            for component in source.run.components:
                if component.kind == kind:
                    found.setdefault(key_of(component), []).append((source, component))
        return found

    # ---- paths of pages ----------------------------------------------------------------------------------------------

    def page_of(self, one: Standing) -> str:
        """Return the path of the page of a defense."""
        cell = one.cell
        key = (one.board, one.source.name, cell.plugin, cell.settings, cell.protects, *cell.surrogates)
        return self.paths.of("defense", key, one.name)

    def page_of_attacker(self, attacker: Attacker) -> str:
        """Return the path of the page of an attacker; empty if no run has it."""
        if attacker not in self.attackers:
            return ""
        return self.paths.of("attack", attacker, self.attackers[attacker])

    def page_of_component(self, kind: PageKind, component: ComponentRecord) -> str:
        """Return the path of the page of a data set or a recogniser."""
        return self.paths.of(kind, key_of(component), component.label)

    def page_of_source(self, source: Source) -> str:
        """Return the path of the page of a run."""
        return self.paths.of("run", source.name, source.name)


def key_of(component: ComponentRecord) -> ComponentKey:
    """Return what makes a data set or a recogniser the same in several runs."""
    return component.label, component.name, component.weights


def all_attacks(one: Standing) -> list[tuple[TriedAttack, str]]:
    """Return every attack on a defense, with the reason why it does not count, which is empty for those that do."""
    entry = one.entry
    counted = [(attack, "") for attack in entry.attacks]
    return [*counted, *entry.aside, *((attack, BY_DESIGN) for attack in entry.insiders)]
