"""Discovery: a plugin that fails is listed with the reason, and the others keep working."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support import Command, write_metadata, write_plugin

from bench.core.errors import PluginError
from bench.registry.discovery import Registry
from bench.registry.sources import source_digest

DiscoverIn = Callable[[Path], Registry]
DEFENSE = """\
from dataclasses import dataclass
from bench import Defense, hookimpl

@dataclass(frozen=True, kw_only=True)
class Mine(Defense):
    def protect(self, images, ctx): ...


@hookimpl
def bench_defenses():
    return {"mine": Mine}
"""

# The code of a plugin, and the text that the reason must contain.
BROKEN = {
    "raises": ("raise RuntimeError('no such luck')", ["RuntimeError", "no such luck"]),
    "imports": ("import a_package_that_nobody_has", ["ModuleNotFoundError", "a_package_that_nobody_has"]),
    "syntax": ("def broken(:", ["SyntaxError"]),
    "exits": ("import sys; sys.exit('goodbye')", ["SystemExit", "goodbye"]),
    "misspelt": (
        "from bench import hookimpl\n@hookimpl\ndef bench_defences(): return {}",
        ["unknown hook 'bench_defences'", "did you mean 'bench_defenses'?"],
    ),
    "list": (
        "from bench import hookimpl\n@hookimpl\ndef bench_defenses(): return ['mine']",
        ["bench_defenses() must return a mapping", "list"],
    ),
    "class": (
        "from bench import hookimpl\n@hookimpl\ndef bench_defenses(): return {'mine': dict}",
        ["subclasses of bench.Defense", "'mine'"],
    ),
    "instance": (DEFENSE.replace("Mine}", "Mine()}"), ["subclasses of bench.Defense", "Mine()"]),
    "name": (DEFENSE.replace('"mine"', "3"), ["subclasses of bench.Defense", "3"]),
    "abstract": (
        "from bench import Defense, hookimpl\nclass Mine(Defense): pass\n"
        "@hookimpl\ndef bench_defenses(): return {'mine': Mine}",
        ["registers 'mine'", "does not define protect()"],
    ),
    "hook-fails": (DEFENSE.replace("return {", "raise KeyError('later')\n    return {"), ["KeyError", "later"]),
    "arguments": (
        DEFENSE + "\n@hookimpl\ndef bench_cell_done(outcome, surprise): pass\n",
        ["bench_cell_done", "surprise"],
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_plugin_is_listed_and_others_work(sites_of_their_own: DiscoverIn, tmp_path: Path, how: str) -> None:
    code, fragments = BROKEN[how]
    registry = sites_of_their_own(write_plugin(tmp_path / "site", f"plugin_{how.replace('-', '_')}", code))
    (plugin,) = [p for p in registry.plugins if p.module.startswith("plugin_")]
    for fragment in fragments:
        assert fragment in str(plugin.reason)
    assert plugin.components == ()
    assert "mine" not in registry.names("defense")
    assert {"identity", "noise"} <= set(registry.names("defense"))
    with pytest.raises(PluginError) as caught:
        registry.find("defense", "mine", "experiment[0].defenses[0]")
    assert "experiment[0].defenses[0]: expected the name of a defense plugin, found 'mine'" in str(caught.value)
    assert f"note: plugin '{plugin.name}' ({plugin.distribution}) could not be loaded" in str(caught.value)


def test_a_plugin_refused_for_its_signature_is_not_called(sites_of_their_own: DiscoverIn, tmp_path: Path) -> None:
    code, _ = BROKEN["arguments"]
    registry = sites_of_their_own(write_plugin(tmp_path / "site", "plugin_arguments", code))
    modules = [h.plugin.__name__ for h in registry.manager.hook.bench_cell_done.get_hookimpls()]
    modules += [h.plugin.__name__ for h in registry.manager.hook.bench_defenses.get_hookimpls()]
    assert "bench_noise" in modules
    assert "plugin_arguments" not in modules


def test_a_missing_module_is_a_reason(sites_of_their_own: DiscoverIn, tmp_path: Path) -> None:
    write_metadata(tmp_path, "gone", "1.0", {"gone": "plugin_gone"})
    (plugin,) = [p for p in sites_of_their_own(tmp_path).plugins if p.name == "gone"]
    assert plugin.reason == "ModuleNotFoundError: No module named 'plugin_gone'"


def test_a_name_that_two_plugins_register_cannot_be_used(sites_of_their_own: DiscoverIn, tmp_path: Path) -> None:
    write_plugin(tmp_path, "plugin_one", DEFENSE)
    write_plugin(tmp_path, "plugin_two", DEFENSE)
    write_plugin(tmp_path, "plugin_three", DEFENSE)
    registry = sites_of_their_own(tmp_path)
    assert "mine" not in registry.names("defense")
    with pytest.raises(PluginError) as caught:
        registry.find("defense", "mine", "experiment[0].defenses[0]")
    assert "experiment[0].defenses[0]" in str(caught.value)
    for rival in ("plugin_one (plugin-one)", "plugin_two (plugin-two)", "plugin_three (plugin-three)"):
        assert rival in str(caught.value)


def test_a_built_in_name_cannot_be_taken_over_silently(sites_of_their_own: DiscoverIn, tmp_path: Path) -> None:
    registry = sites_of_their_own(write_plugin(tmp_path, "plugin_thief", DEFENSE.replace('"mine"', '"identity"')))
    with pytest.raises(PluginError, match=r"bench_noise \(face-privacy-bench\) and plugin_thief \(plugin-thief\)"):
        registry.find("defense", "identity", "here")
    assert "noise" in registry.names("defense")


def test_one_name_may_serve_two_kinds(registry: Registry) -> None:
    assert registry.find("defense", "noise", "here").cls is not None
    with pytest.raises(PluginError, match="expected the name of a model plugin, found 'noise'"):
        registry.find("model", "noise", "here")


def test_two_entry_points_of_one_name(sites_of_their_own: DiscoverIn, tmp_path: Path) -> None:
    write_plugin(tmp_path, "plugin_one", DEFENSE, entry="same")
    write_plugin(tmp_path, "plugin_two", DEFENSE.replace('"mine"', '"yours"'), entry="same")
    registry = sites_of_their_own(tmp_path)
    plugins = [p for p in registry.plugins if p.name == "same"]
    assert [p.distribution for p in plugins] == ["plugin-one", "plugin-two"]
    for plugin in plugins:
        assert "plugin_one and plugin_two" in str(plugin.reason)
    assert not {"mine", "yours"} & set(registry.names("defense"))


def test_a_component_knows_where_it_comes_from(registry: Registry) -> None:
    origin = registry.find("defense", "toy-mean", "here").origin
    assert (origin.distribution, origin.version, origin.package) == ("bench-toy-plugin", "0.1.0", "bench_toy")


def test_the_digest_covers_helpers_and_nothing_else(
    sites_of_their_own: DiscoverIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "plugin_package"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "deep" / "helper.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import plugin_package  # noqa: F401

    first = source_digest("plugin_package")
    (package / "notes.txt").write_text("not code")
    assert source_digest("plugin_package") == first
    (package / "deep" / "helper.py").write_text("x = 2\n")
    second = source_digest("plugin_package")
    (package / "deep" / "helper.py").rename(package / "deep" / "other.py")
    assert len({first, second, source_digest("plugin_package")}) == 3


def test_a_single_module_is_hashed_without_its_neighbours(
    sites_of_their_own: DiscoverIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plugin_single.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import plugin_single  # noqa: F401

    before = source_digest("plugin_single")
    (tmp_path / "neighbour.py").write_text("y = 1\n")
    assert source_digest("plugin_single") == before


def test_help_and_plugins_work_with_every_kind_of_broken_plugin(bench: Command, tmp_path: Path) -> None:
    for how, (code, _) in BROKEN.items():
        write_plugin(tmp_path, f"plugin_{how.replace('-', '_')}", code)
    write_plugin(tmp_path, "plugin_one", DEFENSE)
    write_plugin(tmp_path, "plugin_two", DEFENSE)
    assert bench("--help", sites=[tmp_path]).code == 0
    done = bench("plugins", sites=[tmp_path], env={"COLUMNS": "400"})
    assert done.code == 0
    assert done.err == ""
    for how, (_, fragments) in BROKEN.items():
        line = next(row for row in done.out.splitlines() if row.startswith(f"plugin_{how.replace('-', '_')} "))
        assert "cannot be used" in line
        assert fragments[0] in line
    assert "conflict: defense 'mine' is provided by" in done.out
    assert "identity (defense)" in done.out
