"""The maths: pure functions of arrays."""
