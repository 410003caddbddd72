"""Estimate how long the full protocol takes on one H200 and on 64 of them, from the real graph of stages.

    python benchmarks/scale.py [--gpu-tflops 100] [--gpus 1 8 64]

The full protocol is ``suites/paper.toml`` with all 25,000 pairs (6,250 for each of four data sets), six full-size
networks and every attack of the suite. The graph is planned as for a run; nothing is computed. Each stage then gets a
cost from the number of its samples, the operations of the full-size networks, and the rates below, and the scheduler of
bench orders the stages on a number of workers, one per GPU. Docs: docs/design/scale.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import heapq
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from bench.core.domain import Stage, StageResult
from bench.engine.stage_queue import StageQueue, finishing_order, longest_paths
from bench.planning.plan import Plan, make_plan
from bench.registry.discovery import discover
from bench.suite.suite import load

SUITE = Path(__file__).parent.parent / "suites" / "paper.toml"
PAIRS = 6_250  # per data set; four data sets make 25,000
NETWORKS = ("mobileface", "ir50-arcface", "resnet50", "ir50-softmax", "ir50-sphereface", "mobilenet")
# Million operations of a forward pass, a multiply-add counted as two: `bench_facenets.files.known_checkpoints`.
# That of ResNet50 is taken to be that of IR50, and MobileNet's to be that of MobileFace times its parameters.
MFLOP = {"mobileface": 442.3, "mobilenet": 1_380.0, **dict.fromkeys(NETWORKS[1:5], 12_593.0)}
JUDGE_MFLOP = 400.0  # a bundled network that judges reconstructions
DEEPFACE_MFLOP = 3 * 31_000.0 + 500.0  # three VGG-16 and a small network for each picture
PMT_PASSES = 403.0  # 100 steps, forward and backward, with noise on both sides (`Pmt.passes`)

# Measured on one core of the machine of docs/design/performance.md.
SSIM_S = 3.35e-3  # SSIM and PSNR of a picture of 112x112
COMPARISON_S = 1.8e-7  # a probe with a picture of the gallery, 512 numbers each, in all five comparisons of a score
BASELINES = 5  # images that show nothing of a face
HOST_S = 3e-4  # to read, convert and store a picture of a stage that works on a GPU
LOAD_S = 4e-3  # to decode and store a face; an estimate of the plan
LEARNING_S = 164.0  # of RecFace from 1,000 people with a bundled network; assumed for full-size networks on a GPU


def planned() -> Plan:
    """Plan the full protocol. Stand-ins take the places of networks and faces, under the same labels."""
    models, registry = "[" + ", ".join(f'"{name}"' for name in NETWORKS) + "]", discover()
    overrides = [f"experiment[0].{role}={models}" for role in ("authorised", "evaluated")]  # data abuse
    suite = load(SUITE, registry, [*overrides, 'suite.data="stand-in"'], PAIRS)
    return make_plan(suite, registry, "cpu")


@dataclasses.dataclass(frozen=True)
class Rates:
    """What a GPU does: its sustained operations per second in units of 10**12."""

    gpu_tflops: float

    def seconds(self, stage: Stage) -> tuple[float, str]:
        """Return the seconds of a stage on one GPU and one core, and which of them works."""
        n = stage.units
        if stage.kind == "score":
            metric = stage.options["metric"]
            if metric == "verification":
                return COMPARISON_S * n * n, "core"
            return {"images": SSIM_S, "baselines": BASELINES * SSIM_S}.get(metric, 1e-3) * n, "core"
        if stage.kind == "faces":
            return LOAD_S * n, "core"
        if stage.kind in ("fit_attack", "fit_defense"):
            return LEARNING_S, "GPU"
        return HOST_S * n + n * _mflop(stage) / self.gpu_tflops / 1e6, "GPU"


def _mflop(stage: Stage) -> float:
    """Return the million operations for one sample of a stage that works on a GPU."""
    components = stage.components
    models = [c for role in ("model", "authorised") for c in components.get(role, ())]
    forward = sum(MFLOP.get(c.instead_of or c.label, JUDGE_MFLOP) for c in models)
    if stage.kind == "embed":
        return 2 * forward
    if stage.kind == "protect":
        return PMT_PASSES * forward if "pmt" in components["defense"][0].name else 0.0
    attack = discover().build(components["attack"][0])
    return float(attack.passes()) * forward if attack.outputs == "images" else DEEPFACE_MFLOP


def end_of_run(stages: dict[str, Stage], cells: Sequence[Sequence[str]], workers: int) -> float:
    """Return the seconds of a run with this number of workers."""
    queue = StageQueue({}, finishing_order(stages, cells))
    queue.add(stages)
    now, running = 0.0, list[tuple[float, str]]()
    while queue.tasks:
        while len(running) < workers and (task := queue.next(workers)) is not None:
            heapq.heappush(running, (now + task.stage.cost, task.stage.key))
        now, key = heapq.heappop(running)
        queue.end(StageResult(key=key, status="ok", cached=False, seconds=0.0, peak_mb=0.0, device="cpu"))
    return now


def main() -> None:
    """Print the work by kind of stage, and the time by number of GPUs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--gpu-tflops", type=float, default=100.0, help="sustained, assumed (default: %(default)s)")
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64], help="numbers of GPUs")
    arguments = parser.parse_args()
    plan, rates = planned(), Rates(arguments.gpu_tflops)
    stages, work = {}, defaultdict[tuple[str, str], list[float]](list)
    for key, stage in plan.stages.items():
        seconds, where = rates.seconds(stage)
        stages[key] = dataclasses.replace(stage, cost=seconds)
        kind = f"score {stage.options['metric']}" if stage.kind == "score" else stage.kind
        work[kind, where].append(seconds)
    print(f"{len(plan.cells)} cells, {len(stages)} stages\n\n| stages | number | works | hours | longest, minutes |")
    print("|---|---|---|---|---|")
    for (kind, where), found in sorted(work.items(), key=lambda entry: -sum(entry[1])):
        print(f"| {kind} | {len(found)} | {where} | {sum(found) / 3600:.2f} | {max(found) / 60:.1f} |")
    total, path = sum(s.cost for s in stages.values()), max(longest_paths(stages).values())
    print(f"\nall stages {total / 3600:.1f} h, longest path {path / 3600:.2f} h\n")
    print("| GPUs | hours | efficiency |\n|---|---|---|")
    for gpus in arguments.gpus:
        end = end_of_run(stages, [cell.stages for cell in plan.cells], gpus)
        print(f"| {gpus} | {end / 3600:.2f} | {100 * total / gpus / end:.0f} % |")


if __name__ == "__main__":
    main()
