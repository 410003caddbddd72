"""Names of people, compared across data sets, and the division of people between a defense and an adversary that learn.

Two data sets may show the same person under names that differ in case, in spaces and punctuation, or in how Unicode
encodes them. A name that is only a number says who a person is within one data set, and nothing about other sets.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Collection
from typing import Literal

from bench.core.text import without_invisible

# What the columns learner_overlap and training_overlap of a cell state, each also behind a label and a colon.
NONE_BY_NAME = "none by name"  # Names are known, and nobody is also scored.
WITHIN = "none within the data set"  # Names are not known, and the data set keeps these people apart.
GENERATED = "none, one set is generated"
UNKNOWN = "unknown"
OTHERS_UNKNOWN = f"others {UNKNOWN}"  # After what is known of some.

LEARNT_FROM = "people learnt from who are also scored"  # The heading of learner_overlap.
TRAINED_ON = "people trained on who are also scored"  # The heading of training_overlap.

Half = Literal["defense", "attack"]
Allowed = Callable[[str], bool]  # Whether the person of a name may be learnt from.

_COUNT = rf"\d+ (person|people) (left out(, {OTHERS_UNKNOWN})?|of [^:]+)"
_SOMEBODY = re.compile(rf"(.*: )?({UNKNOWN}|{OTHERS_UNKNOWN}|{_COUNT})")
_ASCII = re.compile(r"[^0-9a-z]+")
_NUMBER = re.compile(
    r"(?:[a-z]|id|mid|face|family|group|part|fold|split|member|class|label|person|people|subject|identity|celeb|user|train|test)?\d*"
)


def everyone(name: str) -> bool:
    """Return True: the person may be learnt from, whatever the name is."""
    return True


def comparable_name(name: str) -> str:
    """Return a name without case, spaces and punctuation, in one Unicode form, so that equal people have equal texts.

    The result is empty for a name that is only a number, also behind a letter or a word such as ``person``: it cannot
    be compared with the names of another data set; so it is for a path of such names, ``F0001/MID1``. Accents are kept.
    """
    if "/" in name and not any(map(comparable_name, name.split("/"))):
        return ""
    if name.isascii():
        plain = _ASCII.sub("", name.lower())
    else:
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", without_invisible(name)).casefold())
        plain = "".join(c for c in folded if unicodedata.category(c)[0] in "LMN")
    return "" if _NUMBER.fullmatch(plain) else plain


def half_of(person: str) -> Half:
    """Return who may learn from a person where a defense and an adversary both learn: by a bit of the sha256 of the
    comparable name, or of ``person`` itself if that is only a number. A person is in the same half in every set."""
    key = comparable_name(person) or person
    return "defense" if hashlib.sha256(key.encode("utf-8", "replace")).digest()[0] & 1 else "attack"


def person_key(name: str, files: str) -> str:
    """Return the text by which a person is compared with those of other sets: the comparable name, or for a name that
    is only a number this name together with ``files``, the digest of the files whose number it is."""
    return comparable_name(name) or f"{files}\0{name}"


def is_local(key: str) -> bool:
    """Return True if a key of `person_key` can be compared within one data set only."""
    return "\0" in key


def learnable(scored: Collection[str], files: str, half: Half | None) -> Allowed:
    """Return the function that accepts the names of people who may be learnt from: those in no key of ``scored`` and,
    if ``half`` is given, in this half. ``files`` is the digest of the files that name them."""
    left_out = frozenset(scored)

    def allowed(name: str) -> bool:
        return person_key(name, files) not in left_out and half in (None, half_of(name))

    return allowed


def may_be_scored(overlap: str | None) -> bool:
    """Return True if the text of a column ``learner_overlap`` or ``training_overlap`` states that some people are also
    scored, or that this is unknown; words within labels do not count."""
    return any(_SOMEBODY.fullmatch(part) for part in (overlap or "").split("; "))


def part_of(overlap: str, label: str) -> str:
    """Return what the text of a column ``learner_overlap`` states of one learner: the whole text if it states the same
    of all."""
    found = re.search(rf"(?:^|; ){re.escape(label)}: ([^;]*)", overlap)
    return found[1] if found else overlap
