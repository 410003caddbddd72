"""The score stages: one row per sample from the artifacts of other stages. Nothing is aggregated here."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from bench.api.hookspecs import Attack
from bench.api.types import Pairs, Received
from bench.core.errors import ContractError, DataError
from bench.metrics import attributes, recognition
from bench.metrics.blank_images import baseline_images
from bench.metrics.images import SSIM_VARIANT
from bench.metrics.lpips import LPIPS_VARIANT, Lpips, find_vgg, load
from bench.metrics.vocabulary import IMAGE_METRICS
from bench.stages import contracts
from bench.stages.attribute_scores import score_attributes
from bench.stages.image_metrics import BuiltInMetrics, score_metric
from bench.stages.link_scores import score_links
from bench.stages.people import people_table
from bench.stages.splits import Shown, check_apart
from bench.stages.stage_inputs import (
    Job,
    Uploads,
    attack_capabilities,
    build,
    images_of,
    network,
    protected_rows,
    read_faces,
    read_pairs,
    read_state,
)
from bench.stages.verification import score_verification
from bench.store.artifacts import Artifact

EXAMPLES = 12  # faces of each upload that are kept as pictures, at fixed positions; the report chooses among them


def _score_images(job: Job) -> Artifact:
    """Score images, one row per protected or reconstructed image: its similarity to the original.

    Some examples are kept as pictures.
    """
    faces = read_faces(job.input("faces"))
    protected = job.input("protected")
    about = protected.tables["samples"]
    index = about["face"].to_numpy()
    images = images_of(protected)
    extras = {name: about[name] for name in about.column_names if name.startswith("extra_")}
    metrics = BuiltInMetrics(job)
    ids = faces.sample_ids[index]
    parts = [
        metrics.columns(faces.images[index[part]], images[part], [str(i) for i in ids[part]])
        for part in job.batches(len(index))
    ]
    similarity = {name: pa.chunked_array([part[name] for part in parts]) for name in parts[0]}
    named = {
        "reconstructed": np.full(len(index), job.stage.options["reconstructed"]),
        "sample_id": ids,
    }
    sizes = {"upload_bytes": np.full(len(index), job.stage.options["upload_bytes"])}
    rows = pa.table({**named, "subject": faces.subjects[index], **similarity, **sizes, **extras})
    shown = np.unique(np.linspace(0, len(index) - 1, min(EXAMPLES, len(index))).round().astype(int))
    examples = pa.table(
        {
            **{name: column[shown] for name, column in named.items()},
            "original": pa.array([_png(faces.images[index[i]]) for i in shown], pa.binary()),
            "protected": pa.array([_png(images[i]) for i in shown], pa.binary()),
            "ssim": similarity["ssim"].take(pa.array(shown)),
        }
    )
    return Artifact(tables={"images": rows, "examples": examples}, facts=_variants(job))


def _score_baselines(job: Job) -> Artifact:
    """Score the baselines of the image metrics, one row per face: the metrics of images that show nothing of the face.

    A similarity is judged in comparison with them. Every cell has this score, so that it also checks that nobody of the
    calibration split is scored, and says what is known of the people who are.
    """
    source = job.input("faces")
    faces, pairs = read_faces(source), read_pairs(source)
    index = scored_rows(job, pairs)
    calibration = job.input("calibration_faces")
    if "pairs" not in calibration.tables:  # Calibration pairs are those of other folds, with thresholds by fold.
        check_apart(Shown.in_faces(source), Shown.in_faces(calibration))
    others = read_faces(calibration).images
    metrics = BuiltInMetrics(job)
    tables = []
    made = baseline_images(faces.images, faces.subjects[index], others, job.stage.seed, index)
    for part, baselines in made:
        originals = faces.images[index[part]]
        ids = faces.sample_ids[index[part]]
        columns: dict[str, Any] = {"sample_id": ids}
        for name, images in baselines.items():
            similarity = metrics.columns(originals, images, [str(i) for i in ids])
            columns |= {f"{metric}_{name}": similarity[metric] for metric in IMAGE_METRICS}
        tables.append(pa.table(columns))
        job.report_progress(part.stop / len(index))
    known = people_table(faces)
    people = {} if known is None else {"people": known}
    return Artifact(tables={"baselines": pa.concat_tables(tables), **people}, facts=_variants(job))


def _score_up(job: Job) -> Artifact:
    """Score UP, one row per image and noise level: both terms of Equation 9.

    Original and upload have independent noise (n' and n of Equation 9) of the same standard deviation. All levels scale
    the same draws, and the draws of a sample are the same for every defense. Noise on images is added to pixels in
    [0, 1] and clamped. Features have no unit, so that the level is a share of the standard deviation of each map of the
    *original*, for the upload too; this is our interpretation.
    """
    source = job.input("faces")
    faces = read_faces(source)
    chosen = scored_rows(job, read_pairs(source))
    observer = NoisyObserver(job)
    tables = []
    for part in job.batches(len(chosen)):
        ids = [str(s) for s in faces.sample_ids[chosen[part]]]
        spreads = observer.spreads(source, chosen[part])
        original = observer.received(source, chosen[part], [f"original/{i}" for i in ids], spreads)
        upload = observer.received(job.input("protected"), np.arange(len(chosen))[part], ids, spreads)
        for sigma in job.stage.options["noise_levels"]:
            columns = observer.compare(original(sigma), upload(sigma), ids)
            about = {"sample_id": ids, "subject": faces.subjects[chosen[part]], "sigma": np.full(len(ids), sigma)}
            tables.append(pa.table({**about, **columns}))
    return Artifact(tables={"up": pa.concat_tables(tables)})


class NoisyObserver:
    """Applies the recogniser f and the privacy-infringing models m_i of Equation 9 to noisy originals and uploads."""

    def __init__(self, job: Job) -> None:
        options = job.stage.options
        self.job = job
        self.uploaded = tuple(options["uploaded"])
        self.splits = tuple(options["splits"])
        self.model = network(job.component("model"), job.device)
        self.label = job.component("attack").label
        self.attack: Attack = build(job.component("attack"))
        via = job.stage.components.get("via", ())
        self.via: Attack | None = build(via[0]) if via else None
        self.victim = job.stage.components["authorised"][0] if self.uploaded or self.splits else None
        self.estimator = read_state(job, "estimator")
        self.lpips = _lpips(job)
        self.originals = images_of(job.input("faces"))

    def spreads(self, originals: Artifact, rows: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """Return the standard deviation ``(n, 1, 1, 1)`` of the features of some originals, by split point; empty if
        images are uploaded."""
        if not self.uploaded:
            return {}
        maps = Uploads(self.job, originals, self.victim, self.uploaded).features(rows)
        return {s: m.std(dim=(1, 2, 3), keepdim=True) for s, m in maps.items()}

    def received(
        self, held: Artifact, rows: NDArray[np.int64], ids: list[str], spreads: Mapping[str, torch.Tensor]
    ) -> Callable[[float], Received]:
        """Return a function of the noise level that gives what is received of some rows, with the same draws for all
        levels. Level 1 is the standard deviation 1 of pixels, or that of ``spreads`` of features."""
        uploads = Uploads(self.job, held, self.victim if self.uploaded else None, self.uploaded)
        ctx = self.job.context("noise", sample_ids=ids)
        if self.uploaded:
            maps = uploads.features(rows)
            noise = {s: ctx.randn(m) * spreads[s] for s, m in maps.items()}
            return lambda sigma: Received(features={s: m + sigma * noise[s] for s, m in maps.items()})
        images = uploads.images(rows)
        if images is None:
            raise ContractError(f"{self.job.stage.name}: images are uploaded, and the defense made none")
        draw = ctx.randn(images)
        return lambda sigma: Received(images=(images + sigma * draw).clamp(0, 1))

    def compare(self, original: Received, upload: Received, ids: list[str]) -> dict[str, Any]:
        """Return the columns of Equation 9 for a batch."""
        cosine = recognition.cosine(self._embed(upload), self._embed(original))
        seen, seen_original = self._visible(upload, ids), self._visible(original, ids)
        ctx = self.job.context(f"attack {self.label}", state=self.estimator)
        found = contracts.estimate_checked(self.attack, seen, ctx)
        known = contracts.estimate_checked(self.attack, seen_original, ctx)
        contracts.check_same_names([found, known], ctx.plugin, "attributes")
        distances = {f"dist_{name}": _distance(found[name], known[name]) for name in sorted(known)}
        lpips = pa.nulls(len(ids), pa.float64())
        if self.lpips is not None:
            lpips = pa.array(self.lpips.distance_of(seen, seen_original))
        mean = np.mean(list(distances.values()), axis=0)
        return {"cosine": cosine, "dist": mean, **distances, "lpips": lpips}

    @torch.no_grad()
    def _embed(self, received: Received) -> NDArray[Any]:
        if received.images is None:
            split = self.uploaded[-1]
            return self.model.from_features(received.features[split], split).float().cpu().numpy()
        return self.model(received.images).float().cpu().numpy()

    def _visible(self, received: Received, ids: list[str]) -> torch.Tensor:
        """Return the images that the privacy-infringing models see: received ones, or reconstructed ones."""
        if self.via is None:
            if received.images is None:
                raise ContractError(f"{self.job.stage.name}: features show nothing; name a reconstruction as via")
            return received.images
        features = received.features
        if received.images is not None and self.splits:
            assert self.victim is not None
            maps = network(self.victim, self.job.device).features(received.images, self.splits)
            features = dict(zip(self.splits, maps, strict=True))
        held = Received(images=received.images, features={s: features[s] for s in self.splits})
        first = self.job.stage.components["via"][0]
        capabilities = attack_capabilities(self.job, self.via, self.originals)
        ctx = self.job.context(f"attack {first.label}", capabilities, state=read_state(self.job), sample_ids=ids)
        return contracts.reconstruct_checked(self.via, held, self.originals.shape[1:], ctx).images


def scored_rows(job: Job, pairs: Pairs) -> NDArray[np.int64]:
    """Return the indices of the pictures whose protected version a score is about."""
    return protected_rows(pairs, job.stage.options.get("protects", "probe"))


def _distance(found: NDArray[Any], known: NDArray[Any]) -> NDArray[np.float64]:
    return attributes.attribute_distance("cosine" if known.ndim == 2 else "years", found, known)


def _lpips(job: Job) -> Lpips | None:
    """Return LPIPS with the weights that the plan found; None if it found none.

    Raise `DataError` if the weights have changed or are missing now.
    """
    wanted = job.stage.options["lpips"]
    if wanted is None:
        return None
    found = find_vgg()
    if found.path is None or found.sha256 != wanted:
        raise DataError(f"LPIPS: the VGG weights of the plan (sha256 {wanted}) are not there any more: {found.reason}")
    return load(job.device)


def _variants(job: Job) -> dict[str, str]:
    """Return which variants of SSIM and LPIPS were computed, as facts of the artifact."""
    names = {component.name for component in job.stage.components["metric"]}
    return {"ssim_variant": SSIM_VARIANT} | ({"lpips_variant": LPIPS_VARIANT} if "lpips" in names else {})


def _png(image: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(buffer, "PNG")
    return buffer.getvalue()


SCORES: Mapping[str, Callable[[Job], Artifact]] = {
    "verification": score_verification,
    "images": _score_images,
    "metrics": score_metric,
    "baselines": _score_baselines,
    "attributes": score_attributes,
    "up": _score_up,
    "links": score_links,
}
