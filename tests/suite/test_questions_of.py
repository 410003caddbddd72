"""A suite that asks the questions of a published suite of other defenses."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.errors import SuiteError
from bench.suite.bundled import published
from bench.suite.suite import read

HEAD = '[suite]\nname = "mine"\nquestions_of = "standard"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_questions_and_the_version_are_those_of_the_other_suite(tmp_path: Path) -> None:
    found = read(write(tmp_path, HEAD + '[defaults]\ndefenses = ["identity", "blur"]\n'))
    other = read(published()["standard"])
    assert found.tables.suite.name == "mine"
    assert found.tables.suite.version == other.tables.suite.version == "standard-1"
    assert "questions_of" not in found.raw["suite"]
    for own, asked in zip(found.raw["experiment"], other.raw["experiment"], strict=True):
        assert own["defenses"] == ["identity", "blur"]
        assert {**own, "defenses": 0} == {**asked, "defenses": 0}


def test_experiments_with_defenses_of_their_own_get_those_of_the_file(tmp_path: Path) -> None:
    text = HEAD.replace('"standard"', '"paper"') + '[defaults]\ndefenses = ["identity", "blur"]\n'
    found = read(write(tmp_path, text))
    assert len(found.raw["experiment"]) == len(read(published()["paper"]).raw["experiment"])
    assert all(own["defenses"] == ["identity", "blur"] for own in found.raw["experiment"])


def test_a_change_of_the_questions_marks_the_version(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + '[defaults]\ndefenses = ["blur"]\n')
    assert read(path, ["defaults.pairs=20"]).tables.suite.version == "standard-1+changed"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (HEAD.replace("standard", "standart") + '[defaults]\ndefenses = ["blur"]\n', "did you mean 'standard'"),
        (HEAD.replace('"standard"', "7") + '[defaults]\ndefenses = ["blur"]\n', "found 7"),
        (HEAD, "defaults.defenses: expected defenses"),
        (HEAD + "defaults = 3\n", "defaults.defenses: expected defenses"),
        (HEAD + "seed = 3\n[defaults]\ndefenses = []\n", "suite.seed: expected only defenses"),
        (HEAD + "[defaults]\ndefenses = []\npairs = 8\n", "defaults.pairs: expected only defenses"),
        (HEAD + '[defaults]\ndefenses = []\n[[experiment]]\nname = "x"\n', r"\[experiment\]: expected only defenses"),
        (HEAD.replace('"standard"', '"zoo-standard"') + "[defaults]\ndefenses = []\n", "name that one"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(SuiteError, match=named):
        read(write(tmp_path, text))
