"""``--defense NAME`` and ``--defense 'NAME,param=value,...'``: defenses that the command line adds to a suite.

They are added to the tables of every experiment, before these are checked. The record of a run therefore holds them
like those of the suite file, and what cannot be asked of them in an experiment is a skipped cell with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.core.errors import SuiteError
from bench.core.parsing import is_unicode
from bench.core.text import shortened, spelling
from bench.registry.components import instantiate
from bench.registry.discovery import Registry
from bench.suite.expand import full_references, reference_words
from bench.suite.overrides import toml_value
from bench.suite.tables import Reference

_FORM = "expected NAME or NAME,parameter=value,... such as pmt or 'pmt,steps=50,step_size=0.02'"
_OPEN, _CLOSE = "[{", "]}"


AddedDefense = dict[str, Any]  # the table that a suite would hold: ``plugin``, parameters, perhaps ``label``


def parse_defenses(texts: Sequence[str]) -> list[AddedDefense]:
    """Return the values of ``--defense`` as tables of a suite; raise `SuiteError` for one of another form."""
    return [parse_reference(text, "--defense") for text in texts]


def parse_reference(text: str, option: str, form: str = _FORM) -> AddedDefense:
    """Return ``NAME`` or ``NAME,param=value,...`` of an option as the table that a suite would hold; raise `SuiteError`
    for a text of another form. ``form`` says what is expected, for the message."""
    option = f"{option} {shortened(text)}"
    if not is_unicode(text):
        raise SuiteError(f"{option}: expected text in UTF-8, found other bytes")
    name, *parts = _split(text)
    if not name.strip() or "=" in name:
        raise SuiteError(f"{option}: {form}")
    table: dict[str, Any] = {"plugin": name.strip()}
    for part in parts:
        key, equals, value = part.partition("=")
        key = key.strip()
        if not equals or not key or not value.strip():
            raise SuiteError(f"{option}: {form}; found {shortened(part.strip())!r}")
        if key in table:
            why = "the name comes first" if key == "plugin" else "it appears twice"
            raise SuiteError(f"{option}: {key}: {why}; remove it")
        table[key] = toml_value(value.strip())
    return table


def _split(text: str) -> list[str]:
    """Split a text at its commas, except those within quotes, brackets and braces."""
    parts, depth, quote = [""], 0, ""
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        else:
            depth += (char in _OPEN) - (char in _CLOSE)
        if char == "," and not quote and depth <= 0:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def check_defenses(added: Sequence[AddedDefense], registry: Registry) -> None:
    """Raise an error that names the option if a plugin does not exist, or if a parameter is wrong."""
    for table in added:
        for reference in full_references("defense", table, f"--defense {shortened(table['plugin'])}"):
            registration = registry.find("defense", reference.name, reference.where)
            for one in (reference, reference.on_stand_ins):
                if one is not None:
                    instantiate(registration.cls, one.passed, one.where)


def add_defenses(
    raw: dict[str, Any], added: Sequence[AddedDefense], shown: Mapping[str, Sequence[Reference]]
) -> tuple[str, ...]:
    """Add defenses to every experiment of a suite that does not ask for them already, and return their labels.

    A defense has one label in all experiments: the one of its table, else the one under which the suite asks for it in
    other experiments, else its name with its parameters, marked where the suite uses this label for something else, or
    a defense of ``shown`` has it: those by experiment whose rows of a reference run are shown beside it.
    Raise `SuiteError`, which names the option, for a label of its table that the suite uses for something else.
    """
    tables = [table for table in _experiments(raw) if isinstance(table.get("defenses"), list)]
    made: list[str] = []
    for table in added:
        missing = [own for own in tables if not any(asks(table, d) for d in own["defenses"])]
        entry = _labelled(table, tables, missing, shown)
        for own in missing:
            own["defenses"].append(entry)
        made += [full.label for full in full_references("defense", entry, "--defense")] if missing else []
    return tuple(dict.fromkeys(made))


def _labelled(
    table: AddedDefense,
    experiments: Sequence[dict[str, Any]],
    missing: Sequence[dict[str, Any]],
    shown: Mapping[str, Sequence[Reference]],
) -> AddedDefense:
    """Return the table of an added defense, with the label that it gets in the experiments that lack it."""
    if "label" in table:
        if taken := _taken(table, missing):
            raise SuiteError(
                f"--defense {shortened(table['plugin'])}.label: {taken} calls another defense "
                f"{shortened(str(table['label']))!r}; give this one another label"
            )
        return table
    own = [defense for experiment in experiments for defense in experiment["defenses"] if asks(table, defense)]
    labels = [defense["label"] for defense in own if isinstance(defense, dict) and "label" in defense]
    default = reference_words(table)
    others = {name: [d for d in defenses if not asks(table, d)] for name, defenses in shown.items()}
    beside = [{**e, "defenses": [*e["defenses"], *others.get(str(e.get("name")), ())]} for e in missing]
    for label in (*labels[:1], default):
        if not _taken({**table, "label": label}, beside):
            return {**table, "label": label}
    return {**table, "label": f"{default} (added)"}


def _taken(table: AddedDefense, experiments: Sequence[dict[str, Any]]) -> str | None:
    """Return the first experiment in which another defense has a label of this one; None if there is none."""
    wanted = spelt(table, "--defense")
    for experiment in experiments:
        where = f"experiment {experiment.get('name')!r}"
        if any(wanted & spelt(defense, where) for defense in experiment["defenses"]):
            return where
    return None


def spelt(reference: Reference, where: str) -> set[str]:
    """Return the labels for which an entry of an axis stands, as they are compared."""
    return {spelling(full.label) for full in full_references("defense", reference, where)}


def _experiments(raw: dict[str, Any]) -> Iterator[dict[str, Any]]:
    found = raw.get("experiment")
    yield from (table for table in (found if isinstance(found, list) else ()) if isinstance(table, dict))


def as_table(reference: Reference) -> dict[str, Any]:
    """Return a reference of a suite as a table. A name alone, also in a table, is its label."""
    table = {"plugin": reference} if isinstance(reference, str) else dict(reference)
    return table if set(table) != {"plugin"} else {**table, "label": table["plugin"]}


def asks(table: AddedDefense, reference: Reference) -> bool:
    """Return True if a reference of a suite is the defense of a table, which may leave its label open."""
    own, asked = as_table(reference), dict(table)
    if "label" not in asked:
        own.pop("label", None)
    return own == asked
