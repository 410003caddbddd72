"""The files of uniface that the attack needs, and the classes of its networks. No torch, no uniface.

``bench models fetch fairface age-gender`` gets them; `bench_uniface` knows where they are and verifies them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from bench_uniface import ATTRIBUTES, Fetchable, files
from bench_uniface.library import INSTALL, installed

from bench import DataError, MissingDataError, file_sha256, weights_folders
from bench_attributes.versions import ARITHMETIC, versions_of

PACKAGES = ("uniface", "onnxruntime")
FILES: Mapping[str, Fetchable] = {
    "age": ATTRIBUTES["age-gender"],
    "gender": ATTRIBUTES["fairface"],
    "race": ATTRIBUTES["fairface"],
}
"""The file that estimates each attribute. The gender that the file of the age also has is not used."""

CLASSES: Mapping[str, tuple[str, ...]] = {
    "gender": ("woman", "man"),
    "race": ("white", "black", "latino hispanic", "east asian", "southeast asian", "indian", "middle eastern"),
}
"""The classes in the order of the estimates: uniface's names in lower case. FairFace's own order of the genders is man,
woman; it is reversed, so that the order is that of the other backends."""


def available() -> bool:
    """Return whether uniface is installed and all of its files are in weights folders; they are not verified here.

    uniface's own cache is not searched: what another program left there must not decide which estimator is used.
    """
    packages = all(find_spec(name) is not None for name in PACKAGES)
    return packages and all(files.located(file, weights_folders()) is not None for file in FILES.values())


def find(attributes: Sequence[str]) -> dict[str, Path]:
    """Return the verified file of each attribute. Raises DataError, which names a missing package or file and how to
    get it; MissingDataError if only files are missing, which names all of them."""
    if absent := [name for name in PACKAGES if find_spec(name) is None]:
        raise DataError(f"attributes: the uniface backend needs {', '.join(absent)}; install with: {INSTALL}")
    found, missing = {}, []
    for file in dict.fromkeys(FILES[name] for name in attributes):
        try:
            found[file] = files.find(file)
        except MissingDataError as error:
            missing.append(str(error))
    if missing:
        raise MissingDataError("attributes: " + "; ".join(missing))
    return {name: found[FILES[name]] for name in attributes}


def fingerprint(attributes: Sequence[str]) -> str:
    """Return a digest of the files and of the versions of what computes with them. Raises DataError like `find`."""
    parts = sorted({f"{path.name} {file_sha256(path)}" for path in find(attributes).values()})
    return hashlib.sha256("\n".join([f"uniface {installed()}", *versions_of(ARITHMETIC), *parts]).encode()).hexdigest()
