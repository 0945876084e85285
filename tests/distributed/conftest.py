"""What pytest finds here."""

# A program that the tests start, not a module of tests.
collect_ignore = ["victim.py"]
