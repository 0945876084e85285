"""Checks the types and shapes of arguments and results against the signatures."""

import io
from typing import IO, BinaryIO

from beartype import BeartypeConf, BeartypeHintOverrides, beartype

# For beartype, a BytesIO is no file because it has no name.
_FILES = BeartypeHintOverrides({hint: hint | io.BytesIO for hint in (IO[bytes], BinaryIO)})

# The numeric tower: an int may stand for a float.
check = beartype(conf=BeartypeConf(is_pep484_tower=True, hint_overrides=_FILES))
