"""Upscaling images of any size to any size with a trained model."""
