"""``bench check``: what passes gets a badge, and whatever a plugin does instead of returning is one clear message."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support import Command, environment, write_plugin

from bench.kit.checking import checked_here
from bench.kit.examine import Examination
from bench.kit.findings import KitFinding, KitResult
from bench.kit.targets import component_for, targets_named
from bench.registry.discovery import Registry
from bench.store.badges import KIT, badge_of, write_badge

PLUGIN = """
import os, sys, time
from dataclasses import dataclass
from bench import Defense, Protected, hookimpl

@dataclass(frozen=True, kw_only=True)
class Dark(Defense):
    share: float = 0.5
    def protect(self, images, ctx):
        return Protected(images=images * self.share)

class Hangs(Dark):
    def protect(self, images, ctx):
        while True:
            time.sleep(0.1)

class Ends(Dark):
    def protect(self, images, ctx):
        os._exit(7)

class EndsWell(Dark):
    def protect(self, images, ctx):
        os._exit(0)

@hookimpl
def bench_defenses():
    return {"dark": Dark, "hangs": Hangs, "ends": Ends, "ends-well": EndsWell}
"""

BADGES = """
from bench.kit.targets import component_for, targets_named
from bench.registry.discovery import discover
from bench.store.badges import write_badge

for name in ("ends", "hangs"):
    (target,) = targets_named(name, discover())
    assert write_badge(component_for(target))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plugin(tmp_path_factory.mktemp("site"), "plugin_dark", PLUGIN)


def test_a_sound_plugin_passes_and_gets_a_badge(bench: Command, site: Path, tmp_path: Path) -> None:
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    done = bench("check", "dark", "--json", sites=[site], env=cache)
    assert done.code == 0, done.err
    (found,) = json.loads(done.out)
    assert (found["kind"], found["name"], found["outcome"]) == ("defense", "dark", "passed")
    assert {one["check"]: one["answer"] for one in found["findings"]}["process"] == "passed"
    (badge,) = (tmp_path / "face-privacy-bench" / "badges").iterdir()
    about = {"kit": KIT, "kind": "defense", "name": "dark", "package": "plugin_dark"}
    assert json.loads(badge.read_text()) == about


@pytest.mark.parametrize(("share", "outcome"), [(0.5, "passed"), (2.0, "failed")])
def test_own_parameters_give_no_badge_and_a_failure_removes_it(
    toy_installed: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, outcome: str
) -> None:
    class Fake(Examination):
        def result(self) -> KitResult:
            finding = KitFinding(check="call", answer="passed" if outcome == "passed" else "failed")
            component = component_for(self.target)
            return KitResult(kind="defense", name="toy-mean", findings=(finding,), component=component)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("bench.kit.checking.Examination", Fake)
    (target,) = targets_named("toy-mean", toy_installed)
    typed = replace(target, params={"weight": share})
    checked_here(typed)
    assert badge_of(component_for(target)) is None
    write_badge(component_for(target))
    checked_here(typed)
    assert (badge_of(component_for(target)) is not None) == (outcome == "passed")


def test_a_plugin_that_hangs_or_ends_the_process_is_found_and_the_others_are_checked(
    bench: Command, site: Path, tmp_path: Path
) -> None:
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    badges = tmp_path / "face-privacy-bench" / "badges"
    subprocess.run([sys.executable, "-c", BADGES], env=environment([site], cache), check=True)
    assert len(list(badges.iterdir())) == 2
    done = bench("check", "ends", "ends-well", "hangs", "dark,share=2.0", "--timeout", "25s", sites=[site], env=cache)
    assert list(badges.iterdir()) == []
    assert done.code == 1
    assert "defense ends: fails call" in done.out
    assert "ended with exit code 7" in done.out
    assert "ended with exit code 0" in done.out
    assert "defense hangs: fails call" in done.out
    assert "did not return in time, in protect" in done.out
    assert "defense dark, share = 2.0: fails output" in done.out
    assert "4 components: 0 passed, 4 failed" in done.out
    assert not done.left


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-thing"], "expected the name of a component or a plugin"),
        (["dark,shar=1"], "unknown parameter 'shar'"),
        (["plugin_dark,share=1"], "expected parameters of one component"),
        ([], "expected a NAME to check, or --all"),
    ],
)
def test_bad_arguments_are_one_error(bench: Command, site: Path, arguments: list[str], message: str) -> None:
    done = bench("check", *arguments, "--here", sites=[site])
    assert message in done.out + done.err
    assert "Traceback" not in done.err
    assert done.code == 2


def test_a_plugin_that_cannot_be_imported_is_one_error(bench: Command, tmp_path: Path) -> None:
    broken = write_plugin(tmp_path / "broken", "plugin_broken", "import no_such_module_at_all")
    ending = write_plugin(tmp_path / "ending", "plugin_ending", "import os; os._exit(4)")
    done = bench("check", "plugin_broken", "--here", sites=[broken])
    assert done.code == 2
    assert "cannot be used: ModuleNotFoundError" in done.err
    done = bench("check", "plugin_ending", "dark", sites=[ending])
    assert done.code == 1
    assert "plugin plugin_ending: fails call" in done.out
    assert "while plugin_ending was imported, the process ended with exit code 4" in done.out
    assert "component plugin_ending: not checked" in done.out
    assert "component dark: not checked" in done.out
    assert "3 components: 0 passed, 1 failed, 2 not checked" in done.out


@pytest.mark.parametrize("code", ["time.sleep(10**6)", "def bench_defenses(): time.sleep(10**6)"])
def test_a_plugin_that_hangs_while_it_is_imported_fails_and_the_others_are_checked(
    bench: Command, site: Path, tmp_path: Path, code: str
) -> None:
    hook = "" if "def" not in code else "from bench import hookimpl\n@hookimpl\n"
    hanging = write_plugin(tmp_path / "hanging", "plugin_hanging", f"import time\n{hook}{code}")
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    badges = tmp_path / "face-privacy-bench" / "badges"
    badges.mkdir(parents=True)
    for name in ("hanging", "other"):
        (badges / f"{name}.json").write_text(json.dumps({"kit": KIT, "package": f"plugin_{name}"}))
    done = bench("check", "dark,share=2.0", "--timeout", "20s", sites=[site, hanging], env=cache)
    assert done.code == 1
    assert "plugin plugin_hanging: fails call" in done.out
    assert "while plugin_hanging was imported, the process did not return in time, in " in done.out
    assert "plugin_hanging" in done.out.partition("in time, in ")[2].partition("\n")[0]
    assert "defense dark, share = 2.0: fails output" in done.out
    assert [path.name for path in badges.iterdir()] == ["other.json"]
    assert not done.left


@pytest.mark.parametrize("said", ["\n", "\r", "\u2028", "\x1b[2K"])
def test_what_a_plugin_says_cannot_look_like_a_finding(said: str) -> None:
    text = f"broken{said}  passed     parameters{'x' * 5000}"
    finding = KitFinding(check="call", answer="failed", expected=text, seen=text, mend=text)
    result = KitResult(kind="defense", name=f"dark{said}defense light: 14 checks passed", findings=(finding,))
    lines = result.as_text().splitlines()
    assert [line.split()[0] for line in lines] == ["defense", "FAILED", "expected:", "seen:", "to", *lines[5:]]
    assert all(len(line) < 1600 and "\x1b" not in line for line in lines)
    asked = KitFinding(check="call", answer="not asked", reason=text)
    assert len(list(asked.lines())) == len("\n".join(asked.lines()).splitlines()) == 1
