"""The plugins of the repository pass their own kit, with small parameters where they would take long."""

from __future__ import annotations

import pytest

from bench.kit.checking import checked_here
from bench.kit.findings import NotAskedError
from bench.kit.targets import all_targets, targets_named
from bench.registry.discovery import discover

# Parameters with which a component is light.
FEW_PEOPLE = "calibration_identities=10,auxiliary_identities=10"
SMALL = {
    "fawkes": "steps=2",
    "lowkey": "steps=2",
    "opom": "steps=2",
    "tip-im": "steps=2",
    "pmt": "steps=2",
    "mr-pmt": "steps=2",
    "pmt-noise": "steps=2",
    "pmt-adapted": "steps=2,faces=16,judge_steps=2,batch=8",
    "adapted-recogniser": "steps=2,faces=16",
    "decoder": "steps=2,faces=16,channels=8",
    "embedding-inversion": "steps=2,faces=16,channels=8",
    "inversion": "steps=2",
    "adv-encoder": "steps=2",
    "dct-channels": "steps=2",
    "deep-obfuscator": "steps=2",
    "partial-dct": "steps=2,upsampling=1",
    "recface": "steps=2,channels=8",
    "attributes-adapted": "steps=2,faces=16",
    "averaged": "uploads=2",
    "restored": "faces=8,families=['median']",
    **dict.fromkeys(("synth-agedb30", "synth-calfw", "synth-cfp-ff", "synth-lfw"), FEW_PEOPLE),
    **dict.fromkeys(("synth-training", "synth-training-judges"), "groups=[[4, 2]]"),
    "representation-decoder": "steps=2,faces=16,channels=8",
    "representation-recogniser": "steps=2,faces=16",
    "representation-probe": "faces=16",
}
# Components that need a file or a package that is not everywhere, or parameters that have no default.
MAY_BE_MISSING = {"dataset", "training_set", "model", "metric", "attack"}
NO_DEFAULT = {"external-command", "external-images"}
IN_ANOTHER_PROCESS = {"noise", "attribute-probe", "ssim"}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), [(one.kind, one.name) for one in all_targets(discover())])
def test_it_passes(kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_asked(*_: object) -> None:
        raise NotAskedError("one component of each kind is enough: starting a process takes seconds")

    if name not in IN_ANOTHER_PROCESS:
        monkeypatch.setattr("bench.kit.examine.results_elsewhere", not_asked)
    text = f"{name},{SMALL[name]}" if name in SMALL else name
    (target,) = (one for one in targets_named(text, discover()) if one.kind == kind)
    result = checked_here(target)
    assert result.failed == [], result.as_text()
    if not result.passed:
        assert kind in MAY_BE_MISSING or name in NO_DEFAULT
        reason = next(one.reason for one in result.findings if one.answer == "not asked")
        assert any(word in reason for word in ("missing", "no default")), result.as_text()
        pytest.skip(reason)
