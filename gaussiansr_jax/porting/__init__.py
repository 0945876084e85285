"""From the official PyTorch checkpoints to our weights and back, and the proof that they agree."""

from gaussiansr_jax.porting.port import load

__all__ = ["load"]
