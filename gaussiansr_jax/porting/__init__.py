"""From the official PyTorch checkpoints to our weights and back, and the check that they agree."""
