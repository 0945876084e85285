"""Enlarging films: decoding, upscaling and encoding at the same time."""
