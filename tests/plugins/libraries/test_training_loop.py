"""The trainer that all networks share: sampling, data on the fly, precision, several processes, checkpoints."""

from __future__ import annotations

import itertools
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training_worker as worker
from bench_training.checkpoints import read_checkpoint, write_checkpoint
from bench_training.config import Phase, RunOptions
from bench_training.data import DecodedData, MappedData, open_data, threads
from bench_training.evaluate import pair_lists, stratified_folds, verify
from bench_training.ranks import Ranks, require_one_process
from bench_training.sampling import ahead, grouped, shuffled
from devices import Elsewhere
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from training_worker import CONFIG, DATA, QUICK, SIDE, SOURCE, Noise, build, fit, weights

from bench import BenchError, ContractError, DataError, Dataset, Faces, MissingDataError, Pairs, SuiteError
from bench.api.context import Context


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- sampling ---------------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.lists(st.integers(0, 30), max_size=6), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_an_image_follows_from_its_position(n: int, lengths: list[int], purpose: int) -> None:
    cuts = np.cumsum([0, *(length + 1 for length in lengths)]).tolist()
    pieces = [shuffled(a, b, n, 7, purpose) for a, b in itertools.pairwise(cuts)]
    if pieces:
        assert np.concatenate(pieces).tolist() == shuffled(0, cuts[-1], n, 7, purpose).tolist()
    whole = shuffled(0, 2 * n, n, 7, purpose)
    assert sorted(whole[:n]) == sorted(whole[n:]) == list(range(n))


def test_batches_for_losses_of_pairs_hold_several_images_of_each_person() -> None:
    starts = np.array([0, 5, 7, 12, 20])  # the second person has two images only
    people: list[int] = []
    for step in range(6):
        rows = grouped(step, 6, 3, starts, 7, 1, 0)
        assert rows.tolist() == grouped(step, 6, 3, starts, 7, 1, 0).tolist()
        shown = (np.searchsorted(starts, rows, side="right") - 1).reshape(2, 3)
        assert (shown == shown[:, :1]).all()
        for person, own in zip(shown[:, 0].tolist(), rows.reshape(2, 3), strict=True):
            assert len(set(own.tolist())) == min(3, starts[person + 1] - starts[person])
        people += shown[:, 0].tolist()
    assert all(sorted(people[i : i + 4]) == [0, 1, 2, 3] for i in (0, 4, 8))
    other = grouped(0, 6, 3, starts, 8, 1, 0)
    assert other.tolist() != grouped(0, 6, 3, starts, 7, 1, 0).tolist()


def test_shares_of_a_batch_are_the_batch() -> None:
    rows = shuffled(0, 12, 30, 1)
    parts = [Ranks(rank=rank, world=3).share(rows) for rank in range(3)]
    assert np.concatenate(parts).tolist() == rows.tolist()
    assert {len(part) for part in parts} == {4}


def test_batches_made_ahead_are_few_and_in_order() -> None:
    made, used, lock, most = [0], [0], threading.Lock(), [0]

    def make(i: int) -> int:
        with lock:
            made[0] += 1
            most[0] = max(most[0], made[0] - used[0])
        return i

    found = []
    for i in ahead(make, range(40), 3):
        found.append(i)
        used[0] += 1
    assert found == list(range(40))
    assert most[0] <= 3 + 2  # those that wait, and the one that is handed over


def test_an_error_ahead_of_time_appears_in_its_turn() -> None:
    def make(i: int) -> int:
        if i == 2:
            raise DataError("faces/3.jpg: damaged")
        return i

    batches = ahead(make, range(5), 2)
    assert [next(batches), next(batches)] == [0, 1]
    with pytest.raises(DataError, match=r"faces/3\.jpg"):
        next(batches)


# --- data -------------------------------------------------------------------------------------------------------


def test_decoded_and_drawn_faces_train_the_same_weights(tmp_path: Path) -> None:
    said: list[str] = []
    drawn = open_data(SOURCE, tmp_path, QUICK, Ranks(), said.append)
    decoded = open_data(SOURCE, tmp_path, replace(QUICK, draw_up_to_gb=0.0), Ranks(), said.append)
    assert isinstance(drawn, MappedData)
    assert isinstance(decoded, DecodedData)
    assert drawn.size == decoded.size == (SIDE, SIDE)
    assert any("decoded on the fly" in line for line in said)
    assert same(weights(fit(tmp_path / "a", data=drawn)), weights(fit(tmp_path / "b", data=decoded)))


@dataclass(frozen=True, kw_only=True)
class Damaged(Noise):
    """One image cannot be read; ``how`` it fails."""

    how: str = "named"

    def images(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        if 7 in rows:
            if self.how == "named":
                raise DataError("people/anna/3.jpg: expected an image, found a truncated one")
            raise OSError("disk on fire")
        found = super().images(rows)
        return found[:, :, :4] if self.how == "shape" else found


@pytest.mark.parametrize("gigabytes", [0.0, 4.0])
@pytest.mark.parametrize(
    ("how", "message", "kind"),
    [
        ("named", r"people/anna/3\.jpg", DataError),
        ("plain", r"Damaged: images \d+ to \d+ cannot be read: disk on fire", DataError),
    ],
)
def test_an_unreadable_image_is_named(
    tmp_path: Path, gigabytes: float, how: str, message: str, kind: type[BenchError]
) -> None:
    source = Damaged(how=how)
    options = replace(QUICK, draw_up_to_gb=gigabytes)
    with pytest.raises(kind, match=message):
        fit(tmp_path, data=open_data(source, tmp_path, options, Ranks(), lambda _: None))
    assert not list(tmp_path.glob("*.part"))


def test_images_of_another_shape_and_labels_with_gaps_break_the_contract() -> None:
    data = DecodedData(source=Damaged(how="shape"), labels=SOURCE.labels())
    with pytest.raises(ContractError, match=r"Damaged: images\(\) must return uint8 \(1, 3, 16, 16\)"):
        data.batch(np.array([0]))


@pytest.mark.parametrize(
    ("labels", "kind"), [([], DataError), ([1, 2], ContractError), ([0, 2], ContractError), ([0, 1, 0], ContractError)]
)
def test_labels_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: list[int], kind: type[BenchError]
) -> None:
    monkeypatch.setattr(Noise, "labels", lambda self: np.array(labels, np.int64))
    with pytest.raises(kind, match="Noise"):
        open_data(SOURCE, tmp_path, QUICK, Ranks(), lambda _: None)


def test_threads_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert threads(RunOptions(), Ranks()) == 6
    assert threads(RunOptions(), Ranks(world=4)) == 1
    assert threads(RunOptions(workers=3), Ranks(world=4)) == 3


# --- resuming ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
def test_a_stopped_training_ends_at_the_same_weights(tmp_path: Path, precision: Any) -> None:
    config = replace(CONFIG, precision=precision)
    dropping = {"build": lambda: build(dropout=0.3)}
    straight = weights(fit(tmp_path / "a", config, **dropping))
    pieces = 0
    while (state := fit(tmp_path / "b", config, stop_after=3, **dropping)) is None:
        torch.manual_seed(99)  # what else draws from the global stream makes no difference
        pieces += 1
    assert pieces == 5
    assert same(straight, weights(state))
    assert all(bool(value.isfinite().all()) for value in straight.values())
    assert state.scaler.is_enabled() == (precision == "fp16")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "computed"), [("float32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_every_precision_learns_and_lines_tell(tmp_path: Path, precision: Any, computed: torch.dtype) -> None:
    lines: list[str] = []
    seen: set[torch.dtype] = set()

    def watched() -> torch.nn.Module:
        net = build()
        net.linear.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
        return net

    config = replace(CONFIG, precision=precision, phases=(Phase(images=800, size=SIDE, lr=0.1),))
    options = RunOptions(workers=1, log_every=20)
    found = weights(fit(tmp_path, config, build=watched, options=options, progress=lines.append))
    losses = [float(line.split("loss ")[1].split()[0]) for line in lines]
    assert len(losses) == 5
    assert losses[-1] < losses[0] / 2
    assert all("images/s" in line and "eta " in line and "lr 0." in line for line in lines)
    assert seen == {computed}
    assert {value.dtype for value in found.values()} == {torch.float32}


def test_validation_after_each_phase_and_in_between(tmp_path: Path) -> None:
    modes: list[bool] = []
    plain = weights(fit(tmp_path / "a"))
    watched = fit(
        tmp_path / "b", options=replace(QUICK, validate_every=3), validate=lambda net, _: modes.append(net.training)
    )
    assert modes == [False] * 6  # steps 3 and 6 of 8, and the end, in each of two phases
    assert same(plain, weights(watched))


def test_a_training_that_diverges_says_so(tmp_path: Path) -> None:
    config = replace(CONFIG, loss="softmax", clip=1e30, phases=(Phase(images=400, size=SIDE, lr=1e12, warmup=0.0),))
    with pytest.raises(BenchError, match=r"tiny: the loss is no number any more in phase 1, .*lower the phase's lr"):
        fit(tmp_path, config)
    assert not (tmp_path / "tiny.checkpoint.pt").exists()


# --- losses of pairs --------------------------------------------------------------------------------------------

OF_PAIRS = replace(CONFIG, loss="supcon", per_person=2, margin=0.0)


@pytest.mark.parametrize("loss", ["supcon", "triplet"])
def test_a_loss_of_pairs_trains_without_a_class_matrix(tmp_path: Path, loss: Any) -> None:
    lines: list[str] = []
    config = replace(OF_PAIRS, loss=loss, margin=0.3, phases=(Phase(images=800, size=SIDE, lr=0.05, margin_from=1.0,
                                                                    margin=1.0),))  # fmt: skip
    state = fit(tmp_path, config, options=RunOptions(workers=1, log_every=20), progress=lines.append)
    assert state is not None
    assert state.learner.classes is None
    losses = [float(line.split("loss ")[1].split()[0]) for line in lines]
    assert losses[-1] < losses[0]


def test_a_stopped_training_with_pairs_ends_at_the_same_weights(tmp_path: Path) -> None:
    straight = weights(fit(tmp_path / "a", OF_PAIRS))
    while (state := fit(tmp_path / "b", OF_PAIRS, stop_after=3)) is None:
        pass
    assert same(straight, weights(state))
    with pytest.raises(SuiteError, match="a multiple of per_person = 4, found 2"):
        fit(tmp_path / "c", replace(OF_PAIRS, per_person=4), ranks=Ranks(world=4))


# --- checkpoints ------------------------------------------------------------------------------------------------


def test_a_checkpoint_belongs_to_a_recipe_and_to_data(tmp_path: Path) -> None:
    assert fit(tmp_path, stop_after=2) is None
    with pytest.raises(DataError, match=r"tiny\.checkpoint\.pt: belongs to another recipe .*delete it"):
        fit(tmp_path, replace(CONFIG, momentum=0.8))
    with pytest.raises(DataError, match=r"tiny\.checkpoint\.pt: belongs to another data \(noise\), expected others"):
        fit(tmp_path, fingerprint="others")
    said: list[str] = []
    assert fit(tmp_path, progress=said.append) is not None
    assert "continues" in said[0]
    assert "phase 1, step 2" in said[0]


class _Evil:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


def test_a_damaged_checkpoint_is_an_error_and_never_run(tmp_path: Path) -> None:
    path, canary = tmp_path / "c.pt", tmp_path / "canary"
    assert read_checkpoint(path, {"run": "a"}) is None
    write_checkpoint(path, {"run": "a"}, {"x": torch.ones(3)})
    whole = path.read_bytes()
    assert read_checkpoint(path, {"run": "a"}) is not None
    for damaged in (b"", whole[: len(whole) // 2], b"no checkpoint at all", pickle.dumps([1, 2])):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"c\.pt: expected a checkpoint .*delete it"):
            read_checkpoint(path, {"run": "a"})
    torch.save({"run": {"run": "a"}, "x": _Evil(canary)}, path)
    with pytest.raises(DataError, match="expected a checkpoint"):
        read_checkpoint(path, {"run": "a"})
    assert not canary.exists()


# --- several processes ------------------------------------------------------------------------------------------


def torchrun(folder: Path, *arguments: object, processes: int = 2) -> subprocess.CompletedProcess[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes]
    words = map(str, [*launch, Path(worker.__file__), folder, *arguments])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(list(words), capture_output=True, text=True, timeout=120, env=environment, check=False)


@pytest.mark.slow
def test_two_processes_train_what_one_trains(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    assert fit(tmp_path / "two", stop_after=3) is None  # one process begins, two go on
    done = torchrun(tmp_path / "two", "float32")
    assert done.returncode == 0, done.stderr
    found = torch.load(tmp_path / "two" / "weights.pt", weights_only=True)
    assert found["worlds"] == [1, 2]
    assert done.stdout.count("phase 2/2 step 8/8") == 1  # the first process alone speaks
    one = weights(fit(tmp_path / "one"))
    first = build().state_dict()
    for name, value in one.items():
        torch.testing.assert_close(found["weights"][name], value, rtol=1e-4, atol=1e-5, msg=name)
        if name.startswith("net."):
            assert not torch.allclose(value, first[name.removeprefix("net.")], atol=1e-3), name


def test_a_lost_process_is_one_clear_error() -> None:
    two = Ranks(world=2)
    with pytest.raises(BenchError, match="another process of this training has stopped"), two.together():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer")
    with pytest.raises(RuntimeError, match="out of memory"), two.together():
        raise torch.OutOfMemoryError("out of memory")


def test_what_does_not_fit_data_or_processes_is_named(tmp_path: Path) -> None:
    phases = (Phase(images=8, identities=7, size=SIDE),)
    with pytest.raises(SuiteError, match=r"phases\[0\]\.identities: expected at most the 6 people .*found 7"):
        fit(tmp_path, replace(CONFIG, phases=phases))
    with pytest.raises(SuiteError, match=r"batch: expected a multiple of the 3 processes.*found 8"):
        fit(tmp_path, ranks=Ranks(world=3))


def test_what_one_process_trains_refuses_several(monkeypatch: pytest.MonkeyPatch) -> None:
    require_one_process("attributes")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SuiteError, match="attributes is trained by one process"):
        require_one_process("attributes")


def test_the_loop_keeps_to_its_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a stand-in for a GPU: other steps, the class means, resuming and validation give the same weights."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    phases = (Phase(images=32, identities=4, size=SIDE), Phase(images=32, size=SIDE, margin=1.0, spread=1.0))
    config = replace(CONFIG, phases=phases)
    plain = weights(fit(tmp_path / "a", config))
    (pairs,), _ = pair_lists({"few": FewPairs()}, 20)
    ranks, measured = Ranks(device=torch.device("cuda")), []
    with Elsewhere() as elsewhere:
        assert fit(tmp_path / "b", config, ranks=ranks, stop_after=5) is None
        state = fit(
            tmp_path / "b", config, ranks=ranks, validate=lambda net, _: measured.append(verify(net, pairs).accuracy)
        )
        found = weights(state)
        assert {elsewhere.where(value).type for value in found.values()} == {"cuda"}
    assert same(plain, found)
    assert len(measured) == 1


# --- validation sets --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FewPairs(Dataset):
    """Thirty pairs, or none because its files are missing."""

    missing: bool = False

    def fingerprint(self) -> str:
        return "few"

    def max_pairs(self) -> int | None:
        if self.missing:
            raise MissingDataError("few.bin is not there; put it into a folder of $BENCH_DATA")
        return 30

    def evaluation(self, pairs: int, ctx: Context) -> tuple[Faces, Pairs]:
        rows, truth = np.arange(30), np.arange(pairs) % 2 == 0
        faces = Faces(images=SOURCE.images(rows), subjects=SOURCE.labels(), sample_ids=rows.astype(str))
        half = np.arange(pairs)
        return faces, Pairs(left=half, right=(half + 1) % 30, same=truth, fold=stratified_folds(truth))

    def calibration(self, ctx: Context) -> Faces:
        raise AssertionError("no threshold is set here")


def test_missing_validation_sets_are_named_and_small_ones_used() -> None:
    lists, missing = pair_lists({"few": FewPairs(), "lost": FewPairs(missing=True)}, 6000)
    assert [len(pairs.same) for pairs in lists] == [30]
    assert missing == {"lost": "few.bin is not there; put it into a folder of $BENCH_DATA"}


def test_data_has_people() -> None:
    assert (DATA.identities, DATA.prefix(2)) == (6, 10)
