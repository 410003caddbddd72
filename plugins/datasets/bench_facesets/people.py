"""The names of people as files give them: which of them name nobody, and which are spellings of one name.

Every reader passes its collection through `with_known_people`. An image whose label names nobody (-1, null, "",
"unknown" ...) is left out and counted: such images show many people, who must not count as one. Names that differ only
in spaces, in case or in their Unicode form are one person, because files that come from several systems spell a name in
several ways; a note gives examples.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from bench import comparable_name
from bench_facesets.collection import Collection, complete, subset

_NOBODY = frozenset({
    "", "?", "-", "<na>", "<none>", "n a", "n/a", "#n/a", "n.a.", "nan", "nil", "none", "null", "undefined",
    "anonymous", "no label", "no name", "not available", "not labeled", "not labelled", "unassigned", "unidentified",
    "other", "others", "unk", "unknown face", "unknown faces", "unknown people", "unknown persons",
    "unlabeled", "unlabelled", "unnamed", "unknown", "unknown identity", "unknown person", "unknown subject",
})  # fmt: skip
_NEGATIVE = re.compile(r"-\d+(\.0+)?")
_EXAMPLES = 3  # The number of names that a note gives as examples.


def readable(text: str) -> str:
    """Return a name from a file system as text that can be encoded: bytes that are not UTF-8 are read as Latin-1."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return os.fsencode(text).decode("latin-1")
    return text


def tidy(name: str) -> str:
    """Return a name in Unicode's composed form (NFC), with single plain spaces and none at its ends."""
    return " ".join(unicodedata.normalize("NFC", readable(name)).split())


def spelling(name: str) -> str:
    """Return the text that all spellings of a name share: without case, invisible characters and repeated spaces, in
    one Unicode form (NFKC)."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", readable(name)).casefold())
    return " ".join("".join(c for c in folded if unicodedata.category(c) != "Cf").split())


def names_nobody(name: str) -> bool:
    """Return whether a label stands for "unknown": an empty text, a negative number, or a word such as ``none``."""
    key = spelling(name)
    return key in _NOBODY or key.replace("_", " ").strip() in _NOBODY or bool(_NEGATIVE.fullmatch(key)) or name == "NA"


def with_known_people(collection: Collection) -> Collection:
    """Return a collection without images of people whom nobody knows, with one name per person, readable ids, and
    without pairs that lack an image; its notes say what was left out and which spellings were joined.

    If all labels name nobody, no image is left out, and the people are not known. Raises DataError if too many images
    of the pair protocol would be left out (see `bench_facesets.collection.subset`).
    """
    found = replace(collection, ids=[readable(name) for name in collection.ids])
    if found.people is None:
        return complete(found)
    counts = Counter(found.people)
    nobody = {name: count for name, count in counts.most_common() if names_nobody(name)}
    if len(nobody) == len(counts):
        return complete(replace(found, people=None))
    one, notes = _one_name_each([name for name in counts if name not in nobody])
    found = replace(found, people=[one.get(name, name) for name in found.people])
    if nobody:
        each = (f"{repr(name) if name else 'no label'}: {count:,}" for name, count in nobody.items())
        left_out = f"{sum(nobody.values()):,} of {len(found.encoded):,} images are left out"
        notes.insert(0, f"{left_out}: their label names nobody ({', '.join(islice(each, _EXAMPLES))})")
        rows = [row for row, name in enumerate(collection.people or ()) if name not in nobody]
        found = subset(found, rows, "have a label that names nobody")
    return complete(replace(found, notes=(*found.notes, *notes)))


def _one_name_each(names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return for every name the one under which its person is known, the tidy form of the first spelling, and notes on
    names that were joined and on names that differ in punctuation only, which are not."""
    spellings: dict[str, list[str]] = defaultdict(list)
    for name in names:
        spellings[spelling(name)].append(name)
    one = {name: tidy(group[0]) for group in spellings.values() for name in group}
    several = [group for group in spellings.values() if len(group) > 1]
    notes = []
    if several:
        shown = "; ".join(" = ".join(map(repr, group[:_EXAMPLES])) for group in several[:_EXAMPLES])
        notes.append(f"spellings of one name are taken as one person: {len(several):,} people ({shown})")
    alike: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(one.values()):
        alike[comparable_name(name)].append(name)
    similar = [group for key, group in alike.items() if key and len(group) > 1]
    if similar:
        shown = "; ".join(", ".join(map(repr, group[:_EXAMPLES])) for group in similar[:_EXAMPLES])
        notes.append(f"names that differ in punctuation are taken as different people: {len(similar):,} ({shown})")
    return one, notes
