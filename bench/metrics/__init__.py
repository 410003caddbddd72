"""The metrics: pure functions of arrays, each documented with formula, shapes, range, direction and source.

Each function names the party for whom higher or lower is better: a defense, a recogniser or an attacker. LPIPS, a
network whose weights the user provides, is in `bench.metrics.lpips`.
"""

from __future__ import annotations

from bench.metrics.attributes import (
    age_difference,
    attribute_distance,
    attribute_similarity,
    constant_baseline,
    constant_predictor,
    permuted_baseline,
    utility_privacy,
)
from bench.metrics.clustering import pair_interval
from bench.metrics.images import SSIM_VARIANT, psnr, ssim
from bench.metrics.impostors import (
    CrossFitted,
    ImpostorThreshold,
    cross_fitted_thresholds,
    impostor_match_shares,
    impostor_threshold,
    people_groups,
)
from bench.metrics.intervals import bootstrap_interval, wilson_bound, wilson_interval
from bench.metrics.lpips import LPIPS_VARIANT, find_vgg
from bench.metrics.lpips import load as load_lpips
from bench.metrics.recognition import (
    FoldAccuracy,
    allowed_matches,
    balanced_threshold,
    best_threshold,
    cosine,
    false_match_rate,
    false_non_match_rate,
    genuine_scores,
    identification_ranks,
    identified,
    impostor_scores,
    reconstruction_success,
    separation,
    ten_fold_accuracy,
    threshold_at_fmr,
    verification_hits,
)

__all__ = [
    "LPIPS_VARIANT",
    "SSIM_VARIANT",
    "CrossFitted",
    "FoldAccuracy",
    "ImpostorThreshold",
    "age_difference",
    "allowed_matches",
    "attribute_distance",
    "attribute_similarity",
    "balanced_threshold",
    "best_threshold",
    "bootstrap_interval",
    "constant_baseline",
    "constant_predictor",
    "cosine",
    "cross_fitted_thresholds",
    "false_match_rate",
    "false_non_match_rate",
    "find_vgg",
    "genuine_scores",
    "identification_ranks",
    "identified",
    "impostor_match_shares",
    "impostor_scores",
    "impostor_threshold",
    "load_lpips",
    "pair_interval",
    "people_groups",
    "permuted_baseline",
    "psnr",
    "reconstruction_success",
    "separation",
    "ssim",
    "ten_fold_accuracy",
    "threshold_at_fmr",
    "utility_privacy",
    "verification_hits",
    "wilson_bound",
    "wilson_interval",
]
