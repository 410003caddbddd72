"""On whose pictures an adversary sets his threshold, and how much it rests on. No torch.

*Strangers* are people of the calibration split. A few of their pictures are protected and attacked exactly as those of
the scored people are, and compared with the gallery, so that these impostor pairs are of the kind that the adversary
sees. Each picture costs as much as a scored one; their number is a compromise, which docs/design/metrics.md gives
reasons for.
"""

from __future__ import annotations

from typing import NamedTuple

from bench.api.attack import Attack
from bench.api.datasets import Dataset
from bench.core.domain import Component
from bench.core.errors import BenchError, PluginError, error_text
from bench.core.memoize import remembered
from bench.core.text import plural
from bench.planning.instances import Instances, Whose
from bench.suite.suite import Experiment

# The impostor scores above a threshold that make its false match rate known: with so many independent ones, the true
# rate is within 30 % of it with a probability of 90 % (the rule of 30: Doddington et al. 2000; ISO/IEC 19795-1).
ENOUGH = 30


class AdversaryThreshold(NamedTuple):
    """On whose pictures the adversary of a cell sets his threshold, and a note on it; both None if he needs none."""

    people: Whose | None
    note: str | None = None


class Strangers:
    """Decides for one experiment on whose pictures adversaries set their thresholds."""

    def __init__(self, experiment: Experiment, instances: Instances) -> None:
        self.experiment = experiment
        self.instances = instances

    @remembered
    def threshold(self, dataset: Component, defense: Component, attack: Component) -> AdversaryThreshold:
        """Return on whose pictures the adversary sets his threshold. It is the people whom the experiment names, unless
        their pictures cannot be protected or attacked like scored ones; the note then says why."""
        if self.instances.of(attack).outputs == "attributes":
            return AdversaryThreshold(None)
        if self.experiment.adversary_threshold == "scored":
            return AdversaryThreshold("scored")
        if reason := self.too_few(dataset) or self.without_further_pictures(dataset, defense, attack):
            return AdversaryThreshold("scored", f"it is set on the scored people, without the probe's group: {reason}")
        return AdversaryThreshold("calibration", self.uncertain(dataset))

    @remembered
    def people(self, dataset: Component) -> int:
        """Return how many people of the calibration split are protected. Raises PluginError if the plugin fails."""
        source: Dataset = self.instances.of(dataset)
        where = f"data set {dataset.label}: calibration_people()"
        try:
            there = source.calibration_people()
        except BenchError:
            raise
        except Exception as error:
            raise PluginError(f"{where} failed with {error_text(error)}") from error
        if not isinstance(there, int) or there < 0:
            raise PluginError(f"{where}: expected the number of people, got {there!r}")
        return min(there, self.experiment.adversary_people)

    def expected(self, dataset: Component) -> float:
        """Return about how many impostor scores are expected above the threshold, of all pairs of a protected picture
        of a stranger with a picture of a scored person, one in each pair."""
        return self.people(dataset) * self.experiment.pairs * self.experiment.fmr

    @remembered
    def too_few(self, dataset: Component) -> str | None:
        """Return why a data set has too few strangers; None if it has enough."""
        people = self.people(dataset)
        if people < 2:
            return (
                f"{dataset.label} declares {plural(people, 'person', 'people')} with two pictures in its calibration "
                'split; adversary_threshold = "calibration" needs a data set with calibration_people()'
            )
        if self.expected(dataset) < 1:
            return (
                f"{people} people of the calibration split of {dataset.label} make about "
                f"{people * self.experiment.pairs:,} impostor pairs with the scored ones, too few for a false match "
                f"rate of {self.experiment.fmr:g}; raise adversary_people, pairs or fmr"
            )
        return None

    @remembered
    def uncertain(self, dataset: Component) -> str | None:
        """Return a note if fewer than `ENOUGH` impostor scores are expected above the threshold; None otherwise."""
        expected = self.expected(dataset)
        if expected >= ENOUGH:
            return None
        people = self.people(dataset)
        return (
            f"it rests on {people} people of the calibration split of {dataset.label}, with about {expected:.2g} "
            f"impostor scores above it at a false match rate of {self.experiment.fmr:g}; expected at least {ENOUGH} "
            "(the rule of 30); raise adversary_people, pairs or fmr"
        )

    def without_further_pictures(self, dataset: Component, defense: Component, attack: Component) -> str | None:
        """Return who needs further pictures of each person, which the calibration split need not have; None if nobody
        does."""
        first: Attack = self.instances.of(attack.via or attack)
        user = defense.label if "enrolment" in self.instances.of(defense).needs else ""
        if not user and first.uploads > 1 and first.uploads_of == "person":
            user = (attack.via or attack).label
        if not user:
            return None
        return f"{user} needs further pictures of each person, and the calibration split of {dataset.label} has none"
