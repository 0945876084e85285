"""From the official PyTorch checkpoints to our weights and back, and the proof that they agree."""
