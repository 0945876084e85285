"""Training: config, state, step, checkpoints, validation and the loop."""
