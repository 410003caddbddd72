"""bench_facesets in a suite: files of the user's own, scored by the host piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import faceset_files as files
import numpy as np
import pytest
from support import Computed

from bench.stages.stage_inputs import read_faces, read_pairs

SUITE = """\
[suite]
name = "own"
title = "Faces of one's own"

[[experiment]]
name = "one"
datasets = [{ plugin = "face-set", path = "$OWN_FACES" }, "lfw"]
authorised = ["zoo-mobilenet"]
evaluated = ["zoo-mobilenet"]
defenses = ["identity"]
attacks = ["abuse", { plugin = "recface", steps = 2, channels = 8 }]
pairs = 20
"""


@pytest.mark.slow
def test_a_suite_scores_folders_and_bins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computed: Callable[..., Computed]
) -> None:
    pairs = files.protocol_pairs()
    monkeypatch.setenv("OWN_FACES", str(files.write_folder(tmp_path / "own", {f"p{k:02d}": 3 for k in range(24)})))
    monkeypatch.setenv("BENCH_DATA", str(files.write_bin(tmp_path / "data" / "lfw.bin", pairs).parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    done = computed(SUITE)
    assert not done.failures()
    faces = [stage for stage in done.plan.stages.values() if stage.kind == "faces"]
    assert {stage.options["split"] for stage in faces} == {"evaluation", "calibration", "auxiliary"}
    for stage in faces:
        artifact = done.cache.read(stage.key)
        found = read_faces(artifact)
        if stage.components["dataset"][0].name != "face-set":
            continue
        expected = np.stack([files.picture(str(i).removesuffix(".png")) for i in found.sample_ids])
        np.testing.assert_array_equal(found.images, expected.transpose(0, 3, 1, 2))
        if stage.options["split"] == "evaluation":
            assert read_pairs(artifact).same.tolist() == [True, False] * 10
    assert not [cell for cell in done.plan.cells if cell.skip]


def test_more_pairs_than_attackers_leave_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan_text: Callable[..., object]
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(files.write_bin(tmp_path / "lfw.bin", files.protocol_pairs()).parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    text = SUITE.replace('{ plugin = "face-set", path = "$OWN_FACES" }, ', "")
    for pairs, skipped in ((32, False), (40, True)):
        plan = plan_text(text.replace("pairs = 20", f"pairs = {pairs}"))
        reasons = [cell.skip for cell in plan.cells if cell.attack.name == "recface"]  # type: ignore[attr-defined]
        assert [bool(reason) for reason in reasons] == [skipped] * len(reasons)
        assert reasons
