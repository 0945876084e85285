"""The same operations as kernels for NVIDIA GPUs."""
