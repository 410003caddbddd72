"""A suite that asks the questions of a published suite of other defenses."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from bench.core.errors import BenchError, SuiteError
from bench.registry.discovery import discover
from bench.suite.bundled import published
from bench.suite.suite import load, read

HEAD = '[suite]\nname = "mine"\nquestions_of = "standard"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_questions_and_the_version_are_those_of_the_other_suite(tmp_path: Path) -> None:
    found = read(write(tmp_path, HEAD + '[defaults]\ndefenses = ["eye-mask", "black-box"]\n'))
    other = read(published()["standard"])
    assert found.tables.suite.name == "mine"
    assert found.tables.suite.version == other.tables.suite.version == "standard-1"
    assert "questions_of" not in found.raw["suite"]
    for own, asked in zip(found.raw["experiment"], other.raw["experiment"], strict=True):
        assert own["defenses"] == ["eye-mask", "black-box"]
        assert {**own, "defenses": 0} == {**asked, "defenses": 0}


def test_experiments_with_defenses_of_their_own_get_those_of_the_file(tmp_path: Path) -> None:
    text = HEAD.replace('"standard"', '"paper"') + '[defaults]\ndefenses = ["identity", "blur"]\n'
    found = read(write(tmp_path, text))
    assert len(found.raw["experiment"]) == len(read(published()["paper"]).raw["experiment"])
    assert all(own["defenses"] == ["identity", "blur"] for own in found.raw["experiment"])


def test_defenses_of_the_reference_run_are_read_from_it(tmp_path: Path) -> None:
    """Written as a name, or as the table that the reference run has; a parameter makes another defense of it."""
    noise = '{ plugin = "noise", label = "Noise 0.3", sigma = 0.3 }'
    other = '{ plugin = "blur", label = "blur 2", sigma = 2.0 }'
    path = write(tmp_path, HEAD + f'[defaults]\ndefenses = ["identity", "blur", {noise}, "eye-mask", {other}]\n')
    assert all(
        table["defenses"] == ["eye-mask", {"plugin": "blur", "label": "blur 2", "sigma": 2.0}]
        for table in read(path).raw["experiment"]
    )
    whole = read(path, recompute=True).raw["experiment"][0]["defenses"]
    assert len(whole) == 5 + 6  # the six others of the reference run are computed too
    assert whole.count("blur") == 1


def test_a_suite_of_nothing_but_the_reference_run_says_how_to_compute_it(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + '[defaults]\ndefenses = ["identity", "blur"]\n')
    with pytest.raises(SuiteError, match="lacks, found none; add one, or compute these with --recompute-reference"):
        read(path)
    changed = read(path, ["defaults.pairs=20"])  # other questions, which the reference run does not answer
    assert changed.raw["experiment"][0]["defenses"] == ["identity", "blur"]


@pytest.mark.parametrize(
    "text", ['{ plugin = "lowkey", label = "identity" }', '{ plugin = "blur", sigma = 2.0, label = "BLUR" }']
)
def test_nobody_takes_the_name_of_a_defense_of_the_reference_run(text: str, tmp_path: Path) -> None:
    """Its rows, such as those of a control, could not be shown beside the run then."""
    path = write(tmp_path, HEAD + f"[defaults]\ndefenses = [{text}]\n")
    with pytest.raises(SuiteError, match=r"the reference run of standard-1 calls another defense '.*'; give this one"):
        read(path)
    (table,) = tomllib.loads(f"x = [{text}]")["x"]
    with pytest.raises(SuiteError, match=r"the reference run of standard-1 calls another defense '(identity|blur)'"):
        read(published()["standard"], defenses=[table])


@pytest.mark.parametrize(
    ("table", "label"),
    [({"plugin": "pmt"}, "pmt (added)"), ({"plugin": "mr-pmt"}, "mr-pmt (added)"), ({"plugin": "blur"}, "blur")],
)
def test_an_added_defense_gets_a_label_that_the_reference_run_leaves_free(table: dict[str, str], label: str) -> None:
    """PMT of the reference run has other parameters, and labels are compared whatever their case; blur is the same."""
    assert read(published()["standard"], defenses=[table]).added == (label,)


def test_a_name_in_a_table_is_the_name_alone(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + '[defaults]\ndefenses = [{ plugin = "blur" }, "eye-mask"]\n')
    assert read(path).raw["experiment"][0]["defenses"] == ["eye-mask"]


def test_claims_may_be_about_any_defense_of_the_reference_run(tmp_path: Path) -> None:
    claim = (
        '[[claims]]\nid = "mine"\ntext = "It hides."\nmetric = "accuracy"\nexperiment = "recognition"\n'
        'left = { defense = "PMT" }\nrelation = "<"\nright = 0.5\n'
    )
    found = read(write(tmp_path, HEAD + '[defaults]\ndefenses = ["eye-mask"]\n' + claim))
    assert found.tables.claims[0].left.defense == ["PMT"]
    with pytest.raises(SuiteError, match="has no defense 'PMD'"):
        read(write(tmp_path, HEAD + '[defaults]\ndefenses = ["eye-mask"]\n' + claim.replace("PMT", "PMD")))


def test_the_questions_are_named_in_the_file_alone(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + '[defaults]\ndefenses = ["eye-mask"]\n')
    with pytest.raises(SuiteError, match=r"suite\.questions_of: expected it in the suite file, found it in --set"):
        read(path, ['suite.questions_of="quick"'])


def test_claims_are_those_of_the_file_alone(tmp_path: Path) -> None:
    claim = (
        '[[claims]]\nid = "mine"\nsource = "me"\ntext = "It hides."\nmetric = "accuracy"\nexperiment = "recognition"\n'
        'left = { defense = "blur" }\nrelation = "<"\nright = 0.5\n'
    )
    found = read(write(tmp_path, HEAD + '[defaults]\ndefenses = ["eye-mask", "blur"]\n' + claim))
    assert [(c.id, c.section, c.place) for c in found.tables.claims] == [("mine", None, "me")]
    assert found.tables.suite.version == "standard-1"


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
        (HEAD.replace('"standard"', '"zoo"') + "[defaults]\ndefenses = []\n", "found 'zoo', which trains networks"),
        (HEAD + '[defaults]\ndefenses = ["blur", 7]\n', r"defaults\.defenses\[1\]"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(SuiteError, match=named):
        read(write(tmp_path, text))


def test_what_is_wrong_with_a_parameter_is_named_where_it_was_written(tmp_path: Path) -> None:
    """Also if defenses before it are read from the reference run, or an override wrote it."""
    path = write(tmp_path, HEAD + '[defaults]\ndefenses = ["blur", { plugin = "noise", label = "n", sigmaa = 3 }]\n')
    with pytest.raises(BenchError, match=r"mine\.toml: defaults\.defenses\[1\]\.sigmaa: unknown parameter"):
        load(path, discover())
    path = write(tmp_path, HEAD + '[defaults]\ndefenses = ["eye-mask"]\n')
    with pytest.raises(BenchError, match=r"mine\.toml: experiment\[0\]\.defenses\[0\]\.marginn: unknown parameter"):
        load(path, discover(), ["experiment[0].defenses=[{plugin='eye-mask', marginn=3}]"])


def test_a_suite_has_a_name_of_its_own(tmp_path: Path) -> None:
    path = write(tmp_path, '[suite]\nquestions_of = "standard"\n[defaults]\ndefenses = ["eye-mask"]\n')
    with pytest.raises(SuiteError, match=r"suite\.name"):
        read(path)


def test_a_label_of_the_reference_run_is_an_error_at_its_own_place(tmp_path: Path) -> None:
    other = '{ plugin = "blur", sigma = 2.0, label = "blur" }'
    path = write(tmp_path, HEAD + f'[defaults]\ndefenses = ["blur", "eye-mask", {other}]\n')
    with pytest.raises(SuiteError, match=r": defaults\.defenses\[2\]: the reference run"):
        read(path)
