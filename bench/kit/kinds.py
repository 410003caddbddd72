"""The trial of each kind of plugin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bench.kit.attack_trials import AttackTrial
from bench.kit.dataset_trials import DatasetTrial
from bench.kit.trials import DefenseTrial, MetricTrial, ModelTrial, TrainingSetTrial, Trial

TRIALS: Mapping[str, Callable[[Any, str], Trial]] = {
    "dataset": DatasetTrial,
    "training_set": TrainingSetTrial,
    "model": ModelTrial,
    "defense": DefenseTrial,
    "attack": AttackTrial,
    "metric": MetricTrial,
}
"""How components of a kind are called, by the kind."""
