"""Settings are chosen on people whom no other suite shows, and the pages of the design say what was measured."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fake_run import FakeAttack, FakeRun, write_fake_run
from support import TESTS

from bench.analysis.measures import measure, select
from bench.analysis.rows import Rows
from bench.analysis.table_model import Measurement
from bench.registry.components import effective_parameters, instantiate
from bench.registry.discovery import Registry
from bench.suite.suite import load

ROOT = TESTS.parent
JUDGE = "zoo-mobilenet"
SUITES = sorted((ROOT / "suites").glob("*.toml"))
PAGES = {"pmt": "pmt-defaults.md", "recface": "recface.md", "inversion": "inversion.md"}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tuning", ROOT / "docs" / "design" / "tuning.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tuning"] = module
    spec.loader.exec_module(module)
    return module


# ---- the people and the judge ----------------------------------------------------------------------------------------


def sets_of(raw: Mapping[str, Any]) -> Iterator[Any]:
    """Yield all references to data sets in the tables of a suite."""
    for written in raw.get("experiment", []):
        experiment = {**raw.get("defaults", {}), **written}
        yield from experiment["datasets"]
        if "auxiliary" in experiment:
            yield experiment["auxiliary"]
    for training in raw.get("train", []):
        yield from (training["data"], *training.get("validate_on", []))


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_only_the_suites_for_tuning_show_people_for_tuning(path: Path) -> None:
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    other = raw.get("suite", {}).get("questions_of")  # Its questions are those of a suite that is tested by itself.
    found = list(sets_of(raw if other is None else tomllib.loads(path.with_stem(other).read_text(encoding="utf-8"))))
    assert found
    for reference in found:
        purpose = reference.get("purpose") if isinstance(reference, dict) else None
        assert purpose == ("tuning" if path.stem.startswith("tuning-") else None), reference


def test_the_judge_of_the_settings_judges_no_experiment_of_the_paper(script: ModuleType, registry: Registry) -> None:
    def names(suite: str) -> set[str]:
        found = load(ROOT / "suites" / f"{suite}.toml", registry, ['suite.data="stand-in"']).experiments
        return {model.name for e in found for models in (e.evaluated, *e.authorised) for model in models}

    assert JUDGE not in names("paper")
    for page in PAGES:
        assert JUDGE in names(f"tuning-{page}")
        assert not [name for name in names(f"tuning-{page}") if name.startswith("zoo-judge")]


def test_every_page_finds_its_experiments_in_its_suite(script: ModuleType, registry: Registry) -> None:
    assert {page.name: page.file for page in script.PAGES} == PAGES
    for page in script.PAGES:
        suite = load(ROOT / "suites" / f"tuning-{page.name}.toml", registry)
        experiments = {e.name: e for e in suite.experiments}
        assert list(experiments) == page.experiments
        for experiment in page.experiments:
            parts = experiments[experiment].defenses if page.name == "pmt" else experiments[experiment].attacks
            assert {p.name for p in parts} == {page.name}
            assert set(page.chosen) <= set(page.shown) <= set(parts[0].params)


# ---- the settings in use ---------------------------------------------------------------------------------------------


def chosen_on(page: str) -> dict[str, Any]:
    """Return the setting that a page says was chosen; empty if the page says that nothing was measured yet."""
    text = (ROOT / "docs" / "design" / page).read_text()
    if "Not measured on people for tuning yet" in text:
        return {}
    (line,) = re.findall(r"^Chosen by the rule: (.*)\.$", text, re.MULTILINE)
    return tomllib.loads("\n".join(re.findall(r"`([^`]+)`", line)))


def test_the_chosen_setting_of_pmt_is_that_of_every_suite_on_stand_ins(registry: Registry) -> None:
    chosen = chosen_on(PAGES["pmt"])
    for name in ("paper", "ablation", "quick"):
        suite = load(ROOT / "suites" / f"{name}.toml", registry, ['suite.data="stand-in"'])
        for defense in (d for e in suite.experiments for d in e.defenses if d.name in ("pmt", "mr-pmt", "pmt-noise")):
            assert (defense.on_stand_ins is None) == (name == "quick")
            params = (defense.on_stand_ins or defense).params
            assert chosen == {k: params[k] for k in chosen}


@pytest.mark.parametrize("attack", ["recface", "inversion"])
def test_the_chosen_setting_of_an_attack_is_its_default(attack: str, registry: Registry) -> None:
    chosen = chosen_on(PAGES[attack])
    defaults = effective_parameters(instantiate(registry.find("attack", attack, "here").cls, {}, "here"))
    assert chosen == {name: defaults[name] for name in chosen}


# ---- the rules -------------------------------------------------------------------------------------------------------


def setting(script: ModuleType, name: str, params: Mapping[str, Any], *values: float | None) -> Any:
    """A setting of a page whose first columns have these values."""
    (page,) = (p for p in script.PAGES if p.name == name)
    found = [Measurement(value=v, n=4, low=v, high=v) if v is not None else Measurement() for v in values]
    measured = {column.heading: one for column, one in zip(page.columns, found, strict=False)}
    return script.Setting(params=params, measured=measured)


def test_pmt_leaks_least_among_the_useful(script: ModuleType) -> None:
    (page,) = (p for p in script.PAGES if p.name == "pmt")

    def of(steps: int, *values: float | None, init_std: float = 1.0, pool: int = 0) -> Any:
        return setting(script, "pmt", {"steps": steps, "init_std": init_std, "pool": pool}, *values)

    useless, accurate, short, long = of(10, 0.95, 0.0), of(100, 1.0, 0.3), of(25, 0.995, 0.1), of(50, 0.99, 0.1)
    others = [of(25, 1.0, 0.0, init_std=0.6), of(25, 1.0, 0.0, pool=4)]
    assert page.choose([*others, useless, accurate, long, short]) is short
    assert page.choose([*others, useless, accurate, long]) is long
    assert page.choose([*others, useless]) is useless
    with pytest.raises(ValueError, match="not measured"):
        page.choose([useless, of(5, None, None)])


def test_an_attack_is_the_strongest_within_its_budget(script: ModuleType) -> None:
    (page,) = (p for p in script.PAGES if p.name == "inversion")
    own = {"stages": "all", "start": "grey"}
    beyond = setting(script, "inversion", {"steps": 200, **own}, 1.0, 1.0, 0.9)
    other = setting(script, "inversion", {"steps": 100, **own, "start": "random"}, 1.0, 1.0, 0.9)
    weak = setting(script, "inversion", {"steps": 50, **own}, 0.4, 0.9, 0.5)
    tied = setting(script, "inversion", {"steps": 100, **own}, 0.5, 0.1, 0.3)
    strong = setting(script, "inversion", {"steps": 25, **own}, 0.5, 0.1, 0.4)
    assert page.choose([beyond, other, weak, tied, strong]) is strong
    assert page.choose([beyond, other, weak]) is weak


# ---- the pages -------------------------------------------------------------------------------------------------------


@pytest.fixture
def runs(script: ModuleType, tmp_path: Path) -> dict[str, Rows]:
    models = {"zoo-mobileface": "MobileFace", JUDGE: "MobileNet"}
    plain: dict[str, Any] = {
        "models": models, "datasets": {"synth-lfw": "LFW"}, "authorised": (("zoo-mobileface",),), "table": None,
    }  # fmt: skip
    both = [("Unprotected", "identity", True), ("PMT", "pmt", True)]
    pmt = {f"PMT {steps}": {"steps": steps, "step_size": 0.01, "init_std": 1.0, "pool": 0} for steps in (10, 25)}

    def recface(**params: Any) -> FakeAttack:
        params = {"stages": "all", "pairs": "defense", "steps": 1000, **params}
        label = f"recface {params}"
        return FakeAttack(label=label, plugin="recface", outputs="images", features=True, params=params)

    def inversion(**params: Any) -> FakeAttack:
        usual = {"steps": 100, "tv_weight": 30.0, "update": "adam", "step_size": 0.1, "start": "grey", "stages": "all"}
        params = usual | params
        label = f"inversion {params}"
        return FakeAttack(label=label, plugin="inversion", outputs="images", features=True, params=params)

    specs = {
        "pmt": [FakeRun(name="pmt", defenses=[(label, "pmt", True) for label in pmt], params=pmt, **plain)],
        "recface": [
            FakeRun(name="recface", defenses=both, attacks=(recface(pairs="clean"),), **plain),
            FakeRun(name="recface-adaptive", defenses=both[1:], attacks=(recface(), recface(steps=2000)), **plain),
        ],
        "inversion": [
            FakeRun(name="inversion", defenses=both[1:], attacks=(inversion(), inversion(steps=200)), **plain)
        ],
    }
    folder = tmp_path / "results"
    for name in specs:
        (folder / f"tuning-{name}" / "20260102-e").mkdir(parents=True)
    return {name: Rows(write_fake_run(folder / f"tuning-{name}" / "20260102-e", own)) for name, own in specs.items()}


def cells_of(line: str) -> list[str]:
    return [cell.strip().strip("*") for cell in line.strip("|").split("|")]


def test_the_script_writes_what_the_rows_say(script: ModuleType, runs: dict[str, Rows], tmp_path: Path) -> None:
    for file in PAGES.values():
        shutil.copy(ROOT / "docs" / "design" / file, tmp_path / file)
    script.main([], tmp_path, tmp_path / "results")
    for name, file in PAGES.items():
        before, after = ((folder / file).read_text() for folder in (ROOT / "docs" / "design", tmp_path))
        begin, end = f"<!-- tuning:{name} -->", f"<!-- /tuning:{name} -->"
        assert before.split(begin)[0] == after.split(begin)[0]
        assert before.split(end)[1] == after.split(end)[1]
        block = after.split(begin)[1].split(end)[0]
        assert "run 20260102-e, plan eeeeeeeeeeeeeeee, commit ffffffffffff," in block.replace("\n", " ")
        assert max(map(len, block.splitlines()[-4:])) <= 120

    lines = (tmp_path / PAGES["pmt"]).read_text().split("<!-- tuning:pmt -->")[1].split("<!--")[0].splitlines()
    table = [cells_of(line) for line in lines if line.startswith("|")]
    assert table[0][4:6] == ["authorised: accuracy, %; N 20", "held-out: matched, %; N 20"]
    assert [row[0] for row in table[2:]] == ["10", "25"]
    rows = runs["pmt"]
    for row in table[2:]:
        where: dict[str, Any] = {"experiment": "pmt", "defense": f"PMT {row[0]}"}
        own = measure(rows, select(rows, evaluated="zoo-mobileface", **where), "accuracy")
        judge = measure(rows, select(rows, evaluated=JUDGE, **where), "fmr-match")
        for cell, found in ((row[4], own), (row[5], judge)):
            assert None not in (found.value, found.low, found.high)
            assert cell == f"{100 * found.value:.1f} ({100 * found.low:.1f}–{100 * found.high:.1f})"


def test_a_row_without_a_number_is_empty_and_the_chosen_one_is_bold(script: ModuleType, runs: dict[str, Rows]) -> None:
    (page,) = (p for p in script.PAGES if p.name == "recface")
    lines = [line for line in script.block_of(page, runs["recface"]).splitlines() if line.startswith("|")][2:]
    clean, adaptive, beyond = map(cells_of, lines)
    first = ["all", "clean", "1000"], ["all", "defense", "1000"], ["all", "defense", "2000"]
    assert (clean[:3], adaptive[:3], beyond[:3]) == first
    assert all(clean)
    assert not any(adaptive[8:12])
    assert [line.startswith("| **all**") for line in lines] == [False, True, False]


def test_the_judge_is_the_only_model_that_nobody_authorises(script: ModuleType, tmp_path: Path) -> None:
    one, several = FakeRun(models={"a": "A", JUDGE: "J"}, authorised=(("a",),)), FakeRun(authorised=(("net-a",),))
    assert script.judge_of(Rows(write_fake_run(tmp_path / "one", one))) == JUDGE
    with pytest.raises(ValueError, match="expected one evaluated model that nobody authorises, found net-<script>"):
        script.judge_of(Rows(write_fake_run(tmp_path / "several", several)))


def test_a_page_without_markers_and_a_run_of_another_suite_are_refused(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tuning:pmt.* 0 times"):
        script.replaced("# A page", "pmt", "a table")
    with pytest.raises(ValueError, match="expected cells of pmt, found none"):
        script.settings_of(script.PAGES[0], Rows(write_fake_run(tmp_path / "run")))
    with pytest.raises(ValueError, match="expected pages among pmt, recface, inversion, got pmd"):
        script.main(["pmt", "pmd"], tmp_path, tmp_path)
