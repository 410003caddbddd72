"""``questions_of`` in ``[suite]``: a suite that asks the questions of a published suite of other defenses."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from bench.core.errors import SuiteError, did_you_mean
from bench.core.parsing import decode_text, parse_toml
from bench.core.text import shortened_repr
from bench.core.whole_files import LARGEST_SUITE, read_whole
from bench.suite.bundled import published

_KEY = "questions_of"
_OWN = frozenset({"name", "title", "description", "stage_timeout_s", "stage_memory_mb"})


def write_questions(raw: dict[str, Any]) -> bool:
    """Write the questions of another suite into a suite file that names one, and remove the name; return True if it
    names one.

    The file keeps its name, texts, limits and claims. Its defenses take the place of those of every experiment; claims
    of the other suite are left out, because they may be about other defenses. The version is that of the questions.
    Raise `SuiteError` if it names no published suite, or has questions of its own.
    """
    head = raw.get("suite")
    if not isinstance(head, dict) or _KEY not in head:
        return False
    name, known = head.pop(_KEY), published()
    if not isinstance(name, str) or name not in known:
        hint = did_you_mean(str(name), known)
        raise SuiteError(f"suite.{_KEY}: expected the name of a published suite, found {shortened_repr(name)}; {hint}")
    other = parse_toml(decode_text(read_whole(known[name], LARGEST_SUITE), "a suite file"))
    if _KEY in other["suite"]:
        raise SuiteError(
            f"suite.{_KEY}: expected a suite with questions of its own, found {name!r}, which has those of "
            f"{shortened_repr(other['suite'][_KEY])}; name that one"
        )
    if "experiment" not in other:
        raise SuiteError(f"suite.{_KEY}: expected a suite that asks questions, found {name!r}, which trains networks")
    defenses = _own_defenses(raw, head)
    raw["suite"] = {key: value for key, value in other["suite"].items() if key != "name"} | head
    raw["defaults"] = {**other.get("defaults", {}), "defenses": defenses}
    raw |= {key: copy.deepcopy(value) for key, value in other.items() if key not in ("suite", "defaults", "claims")}
    for table in raw.get("experiment", ()):
        table.pop("defenses", None)
        table.pop("claims", None)
    return True


def require_no_questions_of(raw: Mapping[str, Any]) -> None:
    """Raise `SuiteError` if ``--set`` names a suite for the questions: they are those that the file names."""
    if raw["suite"].get(_KEY) is not None:
        raise SuiteError(f"suite.{_KEY}: expected it in the suite file, found it in --set; write it into the file")


def _own_defenses(raw: Mapping[str, Any], head: Mapping[str, Any]) -> Any:
    """Return the defenses of a suite file, which must have nothing else of its own but claims."""
    defaults = raw.get("defaults")
    if not isinstance(defaults, Mapping) or "defenses" not in defaults:
        raise SuiteError(f"defaults.defenses: expected defenses, found none; suite.{_KEY} needs them")
    places = [f"suite.{key}" for key in head if key not in _OWN] + [f"[{key}]" for key in raw]
    places += [f"defaults.{key}" for key in defaults if key != "defenses"]
    if others := [place for place in places if place not in ("[suite]", "[defaults]", "[claims]")]:
        raise SuiteError(
            f"{others[0]}: expected only defenses and claims, because suite.{_KEY} takes the questions from another "
            f"suite, found something else; remove it, or write out the questions and remove suite.{_KEY}"
        )
    return defaults["defenses"]
