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

from bench import comparable_name, without_invisible
from bench_facesets.collection import Collection, complete, subset

_NOBODY = frozenset({
    "", "?", "-", "<na>", "<none>", "n a", "n/a", "#n/a", "n.a.", "nan", "nil", "none", "null", "undefined",
    "anonymous", "no label", "no name", "not available", "not labeled", "not labelled", "unassigned", "unidentified",
    "other", "others", "unk", "unknown face", "unknown faces", "unknown people", "unknown persons",
    "unrelated and nonfaces", "nonfaces", "distractor", "distractors",
    "unlabeled", "unlabelled", "unnamed", "unknown", "unknown identity", "unknown person", "unknown subject",
})  # fmt: skip
_NEGATIVE = re.compile(r"-\d+(\.0+)?")
_FILLED = re.compile(r"^((?:[a-z]+[-_ ]?)?)0*(\d+)$|^()0*(\d+)\.0+$")
_COPY = re.compile(r"( - copy| copy| ?\(\d+\))+$")  # What systems add to the name of a copy.
_EXAMPLES = 3  # The number of names that a note gives as examples.


def readable(text: str) -> str:
    """Return a name from a file system as text that can be encoded: bytes that are not UTF-8 are read as Latin-1."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return os.fsencode(text).decode("latin-1")
    return text


def tidy(name: str) -> str:
    """Return a name in Unicode's composed form (NFC), without invisible characters, with single plain spaces and none
    at its ends."""
    visible = without_invisible(" ".join(readable(name).split()))
    return " ".join(unicodedata.normalize("NFC", visible).split())


def spelling(name: str) -> str:
    """Return the text that all spellings of a name share: as `tidy`, and without case, in the form NFKC."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", tidy(name)).casefold())
    return " ".join(folded.split())


def number(name: str) -> str:
    """Return a name, in the form of `spelling`, without the zeros that only fill up a number: ``003`` and ``3.0``
    become ``3``, ``person_03`` becomes ``person_3``; each folder of ``group_01/03`` counts."""
    return "/".join(_FILLED.sub(r"\1\2\3\4", part) for part in name.split("/"))


def names_nobody(name: str) -> bool:
    """Return whether a label stands for "unknown": an empty text, a negative number, or a word such as ``none``, also
    as the last folder of a name such as ``F0001/unknown``."""
    whole = spelling(name)
    keys = {whole, whole.replace("_", " ").strip(), (own := whole.rpartition("/")[2]), own.replace("_", " ").strip()}
    return not keys.isdisjoint(_NOBODY) or bool(_NEGATIVE.fullmatch(own)) or name == "NA"


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
        each = (f"{escaped(name) if name else 'no label'}: {count:,}" for name, count in nobody.items())
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
        spellings[number(spelling(name))].append(name)
    one = {name: tidy(group[0]) for group in spellings.values() for name in group}
    notes = []
    if hidden := [name for name in names if has_hidden(name)]:
        shown = ", ".join(map(escaped, hidden[:_EXAMPLES]))
        notes.append(f"invisible characters are left out of {len(hidden):,} names of people ({shown})")
    several = [group for group in spellings.values() if len(group) > 1]
    filled = [group for group in several if len(set(map(spelling, group))) > 1]
    if rest := [group for group in several if group not in filled]:
        notes.append(f"spellings of one name are taken as one person: {len(rest):,} people ({_equal(rest)})")
    if filled:
        notes.append(
            f"numbers that differ only in the zeros before them, or in .0, are taken as one person: {len(filled):,} "
            f"people ({_equal(filled)}); rename them if they are different people"
        )
    known = {spelling(name): name for name in one.values()}
    copied = [
        (known[plain], name) for key, name in known.items() if (plain := _COPY.sub("", key)) != key and plain in known
    ]
    if copied:
        notes.append(f"names that look like copies of a folder are taken as different people: {len(copied):,} "
                     f"({'; '.join(', '.join(map(escaped, pair)) for pair in copied[:_EXAMPLES])})")  # fmt: skip
    alike: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(one.values()):
        alike[comparable_name(name)].append(name)
    similar = [group for key, group in alike.items() if key and len(group) > 1]
    if similar:
        shown = "; ".join(", ".join(map(repr, group[:_EXAMPLES])) for group in similar[:_EXAMPLES])
        notes.append(f"names that differ in punctuation are taken as different people: {len(similar):,} ({shown})")
    return one, notes


def _equal(groups: Sequence[Sequence[str]]) -> str:
    """Return examples of names that are taken as one."""
    return "; ".join(" = ".join(map(escaped, group[:_EXAMPLES])) for group in groups[:_EXAMPLES])


def has_hidden(name: str) -> bool:
    """Return whether a name has characters that nobody sees, line breaks included."""
    text = readable(name)
    return without_invisible(text) != text or any(unicodedata.category(c) in ("Zl", "Zp") for c in text)


def escaped(name: str) -> str:
    """Return a name in quotes in which the characters that nobody sees are written as escapes."""
    return "".join(
        c if c.isprintable() and without_invisible(c) == c else c.encode("unicode_escape").decode()
        for c in repr(readable(name))
    )
