"""Flax models: an encoder and a head, built from a plain config."""

from gaussiansr_jax.models.registry import build, complete, parameter_shapes
from gaussiansr_jax.models.super_resolver import SuperResolver

__all__ = ["SuperResolver", "build", "complete", "parameter_shapes"]
