"""Encoders: LR image -> features on the LR grid."""

from gaussiansr_jax.models.encoders.edsr import EDSR
from gaussiansr_jax.models.encoders.rdn import RDN

__all__ = ["EDSR", "RDN"]
