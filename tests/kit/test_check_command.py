"""``bench check``: what passes gets a badge, and whatever a plugin does instead of returning is one clear message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import Command, write_plugin

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

@hookimpl
def bench_defenses():
    return {"dark": Dark, "hangs": Hangs, "ends": Ends}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plugin(tmp_path_factory.mktemp("site"), "plugin_dark", PLUGIN)


def test_a_sound_plugin_passes_and_gets_a_badge(bench: Command, site: Path, tmp_path: Path) -> None:
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    done = bench("check", "dark,share=0.25", "--json", sites=[site], env=cache)
    assert done.code == 0, done.err
    (found,) = json.loads(done.out)
    assert (found["kind"], found["name"], found["outcome"]) == ("defense", "dark", "passed")
    assert {one["check"]: one["answer"] for one in found["findings"]}["process"] == "passed"
    (badge,) = (tmp_path / "face-privacy-bench" / "badges").iterdir()
    about = {"kit": "1", "kind": "defense", "name": "dark", "params": {"share": 0.25}}
    assert json.loads(badge.read_text()) == about


def test_a_plugin_that_hangs_or_ends_the_process_is_found_and_the_others_are_checked(
    bench: Command, site: Path
) -> None:
    done = bench("check", "ends", "hangs", "dark,share=2.0", "--timeout", "25s", sites=[site])
    assert done.code == 1
    assert "defense ends: fails call" in done.out
    assert "ended with exit code 7" in done.out
    assert "defense hangs: fails call" in done.out
    assert "did not return in time, in protect" in done.out
    assert "defense dark, share = 2.0: fails output" in done.out
    assert "3 components: 0 passed, 3 failed" in done.out
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
    done = bench("check", "pixelation", sites=[ending])
    assert done.code == 2
    assert "expected plugins that can be imported, found that the process ended with exit code 4" in done.err
