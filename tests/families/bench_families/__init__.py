"""One small, working plugin for each family of defenses, adversaries and metrics that bench can express, one file each.

They show what a family has to declare; they do not reproduce published methods, and their settings are not tuned.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench import Attack, Defense, Metric, hookimpl
from bench_families.attributes_from_uploads import AttributesFromUploads
from bench_families.averages_uploads import AveragesUploads
from bench_families.block_dct import BlockDct
from bench_families.cloak import Cloak
from bench_families.external_program import ExternalProgram
from bench_families.face_distance import FaceDistance
from bench_families.gallery_cloak import GalleryCloak
from bench_families.insider import Insider
from bench_families.k_same import KSame
from bench_families.keyed_template import KeyedTemplate
from bench_families.linkage import Linkage
from bench_families.mask_per_person import MaskPerPerson
from bench_families.ms_ssim import MsSsim
from bench_families.pca_laplace import PcaLaplace
from bench_families.probes_representation import ProbesRepresentation
from bench_families.queries_defense import QueriesDefense
from bench_families.recogniser_adapts import RecogniserAdapts
from bench_families.target_cloak import TargetCloak
from bench_families.two_tensors import TwoTensors

__version__ = "0.1.0"


@hookimpl
def bench_defenses() -> Mapping[str, type[Defense]]:
    """Register the defenses."""
    return {
        "family-cloak": Cloak,
        "family-mask": MaskPerPerson,
        "family-gallery": GalleryCloak,
        "family-targets": TargetCloak,
        "family-pca-laplace": PcaLaplace,
        "family-block-dct": BlockDct,
        "family-two-tensors": TwoTensors,
        "family-k-same": KSame,
        "family-keyed": KeyedTemplate,
        "family-external": ExternalProgram,
    }


@hookimpl
def bench_attacks() -> Mapping[str, type[Attack]]:
    """Register the attacks."""
    return {
        "family-adapts": RecogniserAdapts,
        "family-insider": Insider,
        "family-attributes": AttributesFromUploads,
        "family-probe": ProbesRepresentation,
        "family-linkage": Linkage,
        "family-averages": AveragesUploads,
        "family-queries": QueriesDefense,
    }


@hookimpl
def bench_metrics() -> Mapping[str, type[Metric]]:
    """Register the metrics."""
    return {"ms-ssim": MsSsim, "face-fid": FaceDistance}
