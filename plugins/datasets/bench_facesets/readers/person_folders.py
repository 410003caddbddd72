"""Which folders of a set are its people, and whether folders of one name are one person.

The folders of people may lie deeper: in a folder that contains everything, in ``train`` and ``test``, or in families.
Where two levels of folders could be the people, or where folders of one name could be one person or several, nothing is
guessed: people who are merged or divided by mistake make every number wrong.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bench import DataError, comparable_name
from bench_facesets.choices import Choices, set_by
from bench_facesets.readers.images import MAX_ITEM_BYTES
from bench_facesets.readers.safe_paths import read_bytes, shown

Parts = tuple[str, ...]
_JOINED = set_by("repeated_names", '"joined"')
_PATTERN = set_by("person_pattern", "'(.+)_[0-9]+'")
_MOST_KINDS = 12  # Kinds of faces are few.
_NAMED = 3  # The number of folders that a message lists.
_COMPARED = 5  # The number of files of one name that are compared.
# Names of the parts into which a set is divided; such a folder is no person.
_DIVIDED = re.compile(
    r"(train(ing)?|val(id(ation)?)?|test(ing)?|dev|eval(uation)?|gallery|probes?|query|queries|enrol(l?ment)?)"
    r"([-_ ]?(set|data|images|faces|split))?",
    re.IGNORECASE,
)
_NUMBERED = re.compile(
    r"((train|test|val)[-_ ]?)?(fold|split|part|partition|shard|chunk)[-_ ]?\d+([-_ ]?(set|data|images|faces))?",
    re.IGNORECASE,
)
# Kinds of faces; such a folder is no person if all folders beside it are kinds or parts as well.
_KIND = re.compile(
    r"(fe)?males?|(wo)?m[ae]n|boys?|girls?|(fe)?male[-_ ]faces|angry|anger|disgust(ed)?|fear(ful)?|happ(y|iness)|"
    r"sad(ness)?|surprised?|neutral|contempt|african|black|asian|caucasian|white|indian|latino|east[-_ ]asian|"
    r"middle[-_ ]eastern|(with|without|no)[-_ ]?masks?|(un)?masked|real|fake|live|spoof|young|old|"
    r"(father|mother|parent|brother|sister|sibling)s?[-_ ](and[-_ ])?(dau(ghter)?|son|child|brother|sister)s?|"
    r"\d{1,2}-\d{1,3}",
    re.IGNORECASE,
)
# Members of a family, group or class: each is a person, and the number counts within the group only.
_MEMBER = re.compile(
    r"(mid|member|person|people|subject|subj|identity|individual|pupil|student|employee|user|child|kid|baby|"
    r"(grand)?(father|mother|ma|pa|son|daughter)|dad|mom|mum|parent|brother|sister|sibling|husband|wife|uncle|aunt|"
    r"nephew|niece|cousin)[-_ ]?\d*",
    re.IGNORECASE,
)
_SESSION = re.compile(r"(session|sess|day|visit|cam(era)?|view|pose|take|trial|round|scene|video)[-_ ]?\d+", re.I)
_VIEWS = {"images", "masks", "faces", "crops", "aligned", "original", "originals"}  # Folders that show the same people.
_GROUP = re.compile(r"(fam(ily)?|group|grp|class|team|household|house|school|room|dept|department)[-_ ]?\d+", re.I)


@dataclass(frozen=True, kw_only=True)
class PersonFolders:
    """``level``: that of the folders of people, from 1; ``apart``: folders of one name are different people;
    ``notes``: what the user should know about the choice."""

    level: int
    apart: bool = False
    notes: tuple[str, ...] = ()


def find(names: Sequence[Parts], root: Path, path: Path, choices: Choices, nothing: str) -> PersonFolders:
    """Find the folders that are people, from the parts of the paths of all images below ``root``.

    Messages show ``path`` instead, and ``nothing`` says what the folder has if no image lies in a folder. Raises
    DataError if two levels could be the people, or if folders of one name could be one person or several.
    """
    if not any(len(parts) > max(1, choices.person_level) for parts in names):
        raise DataError(f"{path}: expected folders of images, one per person (subject/image.png), {nothing}")
    found = PersonFolders(level=choices.person_level) if choices.person_level else _level(names, path)
    level = found.level
    if not choices.person_level:
        _check_storage([parts for parts in names if len(parts) == level + 1], path, level)
    folders = sorted({parts[:level] for parts in names if len(parts) > level})
    by_name: dict[str, list[Parts]] = defaultdict(list)
    for folder in folders:
        by_name[folder[-1]].append(folder)
    repeated = {name: group for name, group in by_name.items() if len(group) > 1}
    if not repeated:
        return found
    listed = f"{', '.join(map(shown, sorted(repeated)[:_NAMED]))}{' ...' if len(repeated) > _NAMED else ''}"
    several = f"folders of {len(repeated)} names occur in several folders"
    above = {folder[:-1] for group in repeated.values() for folder in group}
    members = _are_members(list(repeated), above)
    if choices.repeated_names == "apart" or (choices.repeated_names == "auto" and members):
        if found.notes:  # It is said already that each folder in a family or group is a person.
            return PersonFolders(level=level, apart=True, notes=found.notes)
        why = "" if choices.repeated_names == "apart" else f"; {_JOINED} joins them"
        note = f"{several} and count as different people: {listed}{why}"
        return PersonFolders(level=level, apart=True, notes=(note,))
    reason = "as the suite says" if choices.repeated_names == "joined" else _one_person(names, root, level, repeated)
    if reason:
        note = f"{len(repeated)} people have folders of one name in several parts of the set and are joined, {reason}: "
        return PersonFolders(level=level, notes=(*found.notes, note + listed))
    raise DataError(
        f"{path}: {several} ({listed}; such as {_listed(next(iter(repeated.values())))}), and either they are one "
        f"person or each part of the set counts its people anew: set {_JOINED} if folders "
        f'of one name show one person, or "apart" if they do not'
    )


def _check_storage(names: Sequence[Parts], path: Path, level: int) -> None:
    """Raise DataError if the folders only spread files, so that none of them gets too many: ``01000/01234.png`` (FFHQ),
    ``71/nm0000271_1955.jpg`` (IMDB-WIKI), or by the beginning of a digest."""
    words: dict[str, set[str]] = defaultdict(set)
    for parts in names:
        words[parts[-2]].add(re.split(r"[-_. ]", parts[-1])[0])
    if len(words) < 2 or all(len(of_one) < 2 for of_one in words.values()):
        return
    every = [(folder, word) for folder, of_one in words.items() for word in of_one]
    numbers = all(folder.isdecimal() and word.isdecimal() for folder, word in every)
    starts = sorted(map(int, words)) if numbers else []
    step = min((b - a for a, b in pairwise(starts)), default=0)
    ranges = step > 1 and all(int(folder) <= int(word) < int(folder) + step for folder, word in every)
    endings = all(len(word) > len(folder) + 2 and word.endswith(folder) for folder, word in every)
    digests = all(len(folder) < 4 and re.fullmatch(rf"{re.escape(folder)}[0-9a-f]{{5,}}", w) for folder, w in every)
    digests = digests and any(re.search("[a-f]", word[len(folder) :]) for folder, word in every)
    if ranges or endings or digests:
        how = "the numbers" if ranges else "the ends" if endings else "the beginnings"
        raise DataError(
            f"{path}: expected folders of images, one per person, found {len(words)} folders named after {how} of "
            f"the names of their images, such as {shown('/'.join(names[0]))}, and so seem to spread files, not "
            f"people; name a table (.csv) of images and people as the path, or set {_PATTERN}, or "
            f"{set_by('person_level', str(level))} if "
            f"each folder is a person"
        )


def _one_person(names: Sequence[Parts], root: Path, level: int, repeated: dict[str, list[Parts]]) -> str:
    """Return why folders of one name show one person; empty if that is not known.

    Below parts of a set, a name is a person's. A number is one if a set of numbered people was divided: then no image
    of a person has the name of another one, unless it is the same file.
    """
    above = {folder[k] for group in repeated.values() for folder in group for k in range(level - 1)}
    varying = {part for part in above if not all(part in folder for group in repeated.values() for folder in group)}
    divided = all(_DIVIDED.fullmatch(part) for part in varying)
    parts = all(_DIVIDED.fullmatch(p) or _NUMBERED.fullmatch(p) or _KIND.fullmatch(p) for p in varying)
    if not parts and not varying <= _VIEWS:
        return ""
    if all(comparable_name(name) for name in repeated):
        return "as they have names"
    files: dict[str, list[Parts]] = defaultdict(list)
    for image in names:
        if len(image) > level and image[level - 1] in repeated:
            files["/".join(image[level - 1 :])].append(image)
    same = [group for group in files.values() if len(group) > 1]
    if same:
        equal = all(len({_contents(root.joinpath(*image)) for image in group}) == 1 for group in same[:_COMPARED])
        return "as they share files" if equal else ""
    counted = len({image[-1] for group in files.values() for image in group}) < len(files)
    return "as their files have different names" if divided or counted else ""


def _contents(path: Path) -> bytes:
    return read_bytes(path, MAX_ITEM_BYTES, "an image")


def _level(names: Sequence[Parts], path: Path) -> PersonFolders:
    """Find the level of the folders of people. Raises DataError if two levels could be it, or if the folders are kinds
    of faces."""
    level = 1
    while True:
        upper = sorted({parts[:level] for parts in names if len(parts) > level})
        direct = {parts[:level] for parts in names if len(parts) == level + 1}
        lower = sorted({parts[: level + 1] for parts in names if len(parts) > level + 1})
        splits = [f for f in upper if _DIVIDED.fullmatch(f[-1]) or _NUMBERED.fullmatch(f[-1])]
        kinds = [f for f in upper if f not in splits and _KIND.fullmatch(f[-1])]
        if len(splits) + len(kinds) == len(upper) > len(splits) and len(upper) <= _MOST_KINDS:
            _check_kinds(path, upper, direct)
            level += 1
            continue
        if splits and (len(splits) < len(upper) or direct):
            what = "images" if direct.intersection(splits) else "other folders"
            raise DataError(
                f"{path}: expected folders of images, one per person, found {_listed(splits)}, which are parts of a "
                f"set, with {what} directly in them or beside them; name one of them "
                f"as the path, or a table (.csv) of images and people, or {_ask(level)}"
            )
        if splits or (len(upper) == 1 and not direct):
            level += 1
            continue
        return _among(names, path, level, upper, direct, lower)


def _check_kinds(path: Path, upper: Sequence[Parts], direct: set[Parts]) -> None:
    if direct:
        raise DataError(
            f"{path}: expected folders of images, one per person, found {_listed(upper)}, which are kinds of faces and "
            f"no people; list the images with their people in a table and name it as the path, or set "
            f"{_PATTERN}, where the names of the images begin with the person"
        )


def _among(
    names: Sequence[Parts], path: Path, level: int, upper: Sequence[Parts], direct: set[Parts], lower: Sequence[Parts]
) -> PersonFolders:
    """Decide between the folders ``upper`` of this level and those in them, ``lower``; ``direct`` hold images."""
    own = Counter(parts[:level] for parts in names if len(parts) == level + 1)
    below_it = Counter(parts[:level] for parts in names if len(parts) > level + 1)
    # A folder with a few images beside many in its folders, such as a cover, may be a group of people.
    direct = {folder for folder in direct if own[folder] >= below_it[folder]}
    inner = [folder for folder in lower if folder[:level] not in direct]
    counts = Counter(folder[:level] for folder in inner)
    several = {folder for folder, n in counts.items() if n > 1}
    if not several:
        return PersonFolders(level=level)
    below = {folder[-1] for folder in inner if folder[:level] in several}
    if _are_members([folder[-1] for folder in inner], several) and 2 * len(direct) < len(upper):
        example = shown("/".join(next(folder for folder in inner if _MEMBER.fullmatch(folder[-1]))))
        note = f"people are the {len(inner)} folders in the {len(upper)} upper ones, which are families or groups, "
        return PersonFolders(level=level + 1, notes=(f"{note}such as {example}",))
    # Few names that return in many folders are sessions or views of a person, and so are folders beside images.
    groups = any(_GROUP.fullmatch(folder[-1]) or _SESSION.fullmatch(folder[-1]) for folder in upper)
    if not groups and (2 * len(below) <= len(several) or 2 * len(direct) >= len(upper)):
        listed = ", ".join(shown(name) for name in sorted(below)[:_NAMED])
        note = f"people are the {len(upper)} upper folders; those in them ({listed}) are joined"
        return PersonFolders(level=level, notes=(note,))
    raise DataError(
        f"{path}: expected folders of images, one per person, found folders on two levels: {_listed(upper)}, and "
        f"{_listed(inner)} in them; either could be the people: {_ask(level)}"
    )


def _are_members(inner: Sequence[str], upper: set[Parts]) -> bool:
    """Return whether folders named ``inner`` are members of the groups ``upper``: most have names of members, there are
    at least as many groups as different names, and the upper folders are neither parts of a set nor sessions."""
    no_group = (_DIVIDED, _NUMBERED, _KIND, _SESSION)
    return (
        2 * sum(_MEMBER.fullmatch(name) is not None for name in inner) > len(inner)
        and len(set(inner)) <= len(upper)
        and not any(kind.fullmatch(folder[-1]) for kind in no_group for folder in upper if folder)
    )


def _ask(level: int) -> str:
    return (
        f"set {set_by('person_level', str(level))} if the upper folders are the people, or "
        f"person_level = {level + 1} if the folders in them are"
    )


def _listed(folders: Sequence[Parts]) -> str:
    named = ", ".join(shown("/".join(folder)) for folder in folders[:_NAMED])
    more = " ..." if len(folders) > _NAMED else ""
    return f"{len(folders)} folder{'' if len(folders) == 1 else 's'} ({named}{more})"
