"""What the kit finds: the answer to each check, the costs that were measured, and all of it as text."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from bench.core.domain import Component
from bench.core.text import one_line, shortened
from bench.kit.catalogue import CHECKS

Answer = Literal["passed", "failed", "not asked"]
_LONGEST = 1500  # characters of what a plugin says


@dataclass(frozen=True, kw_only=True)
class KitFinding:
    """The answer to one check.

    A check that ``failed`` says what was ``expected``, what was ``seen`` and how to ``mend`` it; one that was ``not
    asked`` gives the ``reason``. Each is kept as one line of limited length, whatever a plugin says in it: no text of a
    plugin can look like another finding.
    """

    check: str
    answer: Answer
    expected: str = ""
    seen: str = ""
    mend: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        for name in ("expected", "seen", "mend", "reason"):
            object.__setattr__(self, name, shortened(_on_one_line(getattr(self, name)), _LONGEST))

    def lines(self) -> Iterator[str]:
        """Yield the finding as lines of text."""
        if self.answer == "passed":
            yield f"passed     {self.check}"
        elif self.answer == "not asked":
            yield f"not asked  {self.check}: {self.reason}"
        else:
            yield f"FAILED     {self.check}: {'; '.join(CHECKS[name].asks for name in self.check.split(', '))}"
            yield f"             expected: {self.expected}"
            yield f"             seen:     {self.seen}"
            yield f"             to mend:  {self.mend}"


@dataclass(frozen=True, kw_only=True)
class KitResult:
    """What was found about one component.

    ``kind``, ``name`` and ``params`` name it (``params`` are those that were passed), ``component`` is the resolved
    component of a registered plugin, otherwise None. ``costs`` are measured: seconds, floating-point operations and
    bytes per face, by name.
    """

    kind: str
    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    findings: Sequence[KitFinding] = ()
    costs: Mapping[str, float] = field(default_factory=dict)
    component: Component | None = None

    @property
    def failed(self) -> list[str]:
        """The names of the checks that it fails."""
        return [one.check for one in self.findings if one.answer == "failed"]

    @property
    def passed(self) -> bool:
        """True if it fails no check and was really called; it may have been left out because files are missing."""
        return not self.failed and any((one.check, one.answer) == ("call", "passed") for one in self.findings)

    @property
    def outcome(self) -> Literal["passed", "failed", "not checked"]:
        """``not checked`` if nothing failed, and it could not be called, for example because its files are missing."""
        return "failed" if self.failed else "passed" if self.passed else "not checked"

    @property
    def title(self) -> str:
        """The kind, the name and the parameters that were passed."""
        words = ", ".join([self.name, *(f"{name} = {value!r}" for name, value in self.params.items())])
        kind = "data set" if self.kind == "dataset" else self.kind.replace("_", " ")
        return shortened(_on_one_line(f"{kind} {words}"), _LONGEST)

    def as_text(self, *, failures_only: bool = False) -> str:
        """Return everything that was found as text, or only the failures and the verdict."""
        chosen = [one for one in self.findings if not failures_only or one.answer == "failed"]
        # Checks that were not asked for one reason share a line.
        grouped = itertools.groupby(chosen, lambda one: (one.answer, one.reason or one.expected))
        joined = [
            (replace(group[0], check=", ".join(g.check for g in group))) for _, own in grouped if (group := list(own))
        ]
        lines = [line for one in joined for line in one.lines()]
        costs = [f"{name}: {cost_in_words(name, value)}" for name, value in self.costs.items()]
        return "\n".join([f"{self.title}: {self._verdict()}", *(f"  {line}" for line in [*lines, *costs])])

    def _verdict(self) -> str:
        counted = {answer: sum(one.answer == answer for one in self.findings) for answer in ("passed", "not asked")}
        if self.failed:
            return f"fails {', '.join(self.failed)}"
        rest = f"{counted['passed']} checks passed, {counted['not asked']} not asked"
        return rest if self.passed else f"not checked ({rest})"


class CheckFailedError(AssertionError):
    """A plugin fails checks of the kit; the message is readable as it is, and ``result`` is the `KitResult`."""

    def __init__(self, result: KitResult) -> None:
        super().__init__(result.as_text(failures_only=True))
        self.result = result


class BrokenError(Exception):
    """A check fails: what was expected and seen, and how to mend it (by default as the catalogue says)."""

    def __init__(self, expected: str, seen: str, mend: str = "") -> None:
        super().__init__(expected)
        self.expected, self.seen, self.mend = expected, seen, mend


class NotAskedError(Exception):
    """A check cannot be asked; the message is the reason."""


def _on_one_line(text: str) -> str:
    return one_line(" ".join(text.split()))


def cost_in_words(name: str, value: float) -> str:
    """Return a measured cost with its unit."""
    if "seconds" in name:
        return f"{value:.3g} s"
    return f"{value:,.0f}"
