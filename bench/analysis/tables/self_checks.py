"""Whether the attackers of a run work, by its controls: defenses of which it is known what a working attacker finds.

On unprotected faces (and on any other control that ``leaks``), an attacker must beat chance. On a control that is
``safe``, whose upload does not depend on the face, it must not. One that fails either is broken: it does not decide the
verdict, and every table marks its rows. A ``learnable`` control must be broken by the attackers that learn from its own
pictures; one that does not is weak, which a verdict cannot be blamed for, so that it is marked and still counts.

docs/design/verdict.md has the rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bench.analysis.cells import CellRow
from bench.analysis.rows import Rows
from bench.analysis.table_model import Row, Table
from bench.analysis.tables.questions import by_design
from bench.analysis.tables.row_layout import Sides, sides_of
from bench.analysis.tables.tried_attacks import Attacker, TriedAttack, attacker_of, tried_attacks
from bench.core.domain import Channel, Control, channel

NO_SUCCESS = "broken: does not succeed on unprotected faces"
FALSE_ALARM = "broken: beats chance where nothing can leak"
WEAK = "weak: does not break the control that can be learnt"
UNCHECKED = "unchecked"
_FEWEST = 20  # With fewer people, an attacker that does not beat chance on a control that leaks is not called broken.
_LEARNS = 4  # The knowledge of an attacker that learns from protected faces (`bench.core.domain.KNOWLEDGE`).


@dataclass(frozen=True, kw_only=True)
class AttackerCheck:
    """What an attacker did on the controls of a run.

    ``tried`` is the attack on each control, by the label of the defense. ``succeeds``: it beat chance on a control that
    leaks; ``silent``: it did not beat chance on any control that is safe; ``undoes``: it broke a control that can be
    learnt. Each is None if the run cannot tell. ``learns``: it learns from protected faces; None if that is not known.
    """

    attacker: Attacker
    channel: Channel
    tried: Mapping[str, TriedAttack] = field(default_factory=dict)
    succeeds: bool | None = None
    silent: bool | None = None
    undoes: bool | None = None
    learns: bool | None = None

    @property
    def broken(self) -> str:
        """Why it does not decide the verdict; empty if it does."""
        if self.succeeds is False:
            return NO_SUCCESS
        return FALSE_ALARM if self.silent is False else ""

    @property
    def weak(self) -> bool:
        """True if it learns from protected faces and does not break the control that can be learnt."""
        return self.learns is True and self.undoes is False

    @property
    def mark(self) -> str:
        """What every table says of its rows: that it is broken or weak; empty otherwise."""
        return self.broken or (WEAK if self.weak else "")

    @property
    def words(self) -> str:
        """The result of the check as text."""
        if self.mark:
            return self.mark
        if self.succeeds is None and self.silent is None:
            return UNCHECKED
        if self.silent is None:
            return f"{UNCHECKED} where nothing can leak; succeeds on unprotected faces"
        if self.succeeds is None:
            return f"{UNCHECKED} on unprotected faces; at chance where nothing can leak"
        return "succeeds on unprotected faces, at chance where nothing can leak"


def self_checks(rows: Rows) -> Mapping[Attacker, AttackerCheck]:
    """Return the check of every attacker of a run that did not learn from the evaluated people."""
    if "self-checks" not in rows.conclusions:
        rows.conclusions["self-checks"] = _self_checks(rows)
    found: Mapping[Attacker, AttackerCheck] = rows.conclusions["self-checks"]
    return found


def _self_checks(rows: Rows) -> Mapping[Attacker, AttackerCheck]:
    cells = [c for c in rows.cells if not c.leaky]
    first: dict[Attacker, CellRow] = {}
    for c in cells:
        first.setdefault(attacker_of(c), c)
    found = {a: AttackerCheck(attacker=a, channel=channel(c.outputs), learns=_learns(c)) for a, c in first.items()}
    sides = sides_of(rows.cells)
    for own in control_settings(cells).values():
        control, label = own[0].control, own[0].defense
        checked = [c for c in own if _judged(c, sides)]
        attacks, _ = tried_attacks(rows, checked, together=control != "leaks")
        for attack in attacks:
            found[attack.attacker] = _with(found[attack.attacker], control, label, attack)
    return found


def control_settings(cells: Iterable[CellRow]) -> Mapping[tuple[str, str], list[CellRow]]:
    """Return the cells of each control, by its plugin and parameters, whatever its labels."""
    found: dict[tuple[str, str], list[CellRow]] = {}
    for c in cells:
        if c.control is not None:
            found.setdefault((c.plugin, c.settings), []).append(c)
    return found


def _judged(cell: CellRow, sides: Sides) -> bool:
    """Return True if a cell shows whether its attack works: as in the verdict, and also for an insider by design."""
    return cell.outputs == "attributes" or by_design(cell) or sides.judges(cell)


def _learns(cell: CellRow) -> bool | None:
    """Return whether an attacker learns from protected faces; None if it is not recorded, or hidden by an insider's
    stronger knowledge."""
    return None if cell.knowledge is None or cell.knowledge > _LEARNS else cell.knowledge == _LEARNS


def _with(check: AttackerCheck, control: Control | None, label: str, attack: TriedAttack) -> AttackerCheck:
    """Return the check with what the attacker did on a further control, or in a further experiment on the same one."""
    known = check.tried.get(label)
    better = known is None or (attack.leaks or False, attack.people) > (known.leaks or False, known.people)
    check = replace(check, tried={**check.tried, label: attack} if better else check.tried)
    beat = attack.leaks
    if beat is None:
        return check
    match control:
        case "leaks":
            told = True if beat else None if attack.people < _FEWEST else False
            return replace(check, succeeds=_either(check.succeeds, told))
        case "safe":
            return replace(check, silent=not beat and check.silent is not False)
        case _:
            return replace(check, undoes=_either(check.undoes, beat))


def _either(known: bool | None, told: bool | None) -> bool | None:
    """Return True if one of both is, else False if one of both is, else None."""
    return known if told is None else told or bool(known)


# ---- marks -----------------------------------------------------------------------------------------------------------


def marks(rows: Rows) -> Mapping[str, str]:
    """Return what is to be said of the rows of each cell whose attacker is broken or weak, by the id of the cell."""
    if "marks" not in rows.conclusions:
        said = {attacker: check.mark for attacker, check in self_checks(rows).items() if check.mark}
        of = ((c.cell, said.get(attacker_of(c), "")) for c in rows.cells if not c.leaky) if said else ()
        rows.conclusions["marks"] = {cell: mark for cell, mark in of if mark}
    found: Mapping[str, str] = rows.conclusions["marks"]
    return found


def marked(rows: Rows, tables: Sequence[Table]) -> list[Table]:
    """Return tables in which each row names the attackers that are broken or weak, of those whose cells it shows."""
    said = marks(rows)
    if not said:
        return list(tables)
    label = {c.cell: c.attack for c in rows.cells if c.cell in said}

    def with_flags(row: Row) -> Row:
        cells = dict.fromkeys(cell for m in row.measurements for cell in m.cells if cell in said)
        flags = dict.fromkeys(f"{label[cell]}: {said[cell]}" for cell in cells)
        return replace(row, flags=[*row.flags, *flags]) if flags else row

    return [replace(t, groups=[replace(g, rows=[with_flags(r) for r in g.rows]) for g in t.groups]) for t in tables]
