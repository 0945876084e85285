"""Heads: features on the LR grid -> RGB at any coordinate."""

from gaussiansr_jax.models.heads.direct import DirectHead
from gaussiansr_jax.models.heads.gaussiansr import GaussianSRHead
from gaussiansr_jax.models.heads.head import Head, HeadInput
from gaussiansr_jax.models.heads.liif import LIIFHead
from gaussiansr_jax.models.heads.official import OfficialGaussianSRHead

__all__ = [
    "DirectHead",
    "GaussianSRHead",
    "Head",
    "HeadInput",
    "LIIFHead",
    "OfficialGaussianSRHead",
]
