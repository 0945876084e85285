"""Facts that must be the same in all processes, compared before anything depends on them."""

import hashlib
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gaussiansr_jax.distributed.group import Group
from gaussiansr_jax.errors import UserError

SEE = 15.0  # seconds that a shared file system has to show a new file


def agree(group: Group, key: str, facts: Mapping[str, Any]) -> None:
    """Compares facts.

    Args:
      group: the processes.
      key: a name of this comparison, used once.
      facts: by name.

    Raises:
      UserError: a fact differs: which, between whom, and its values.
    """
    values = group.gather(key, dict(facts))
    (reference, references), *others = values
    for other, names in others:
        for name in {**reference, **other}:
            one, two = (values.get(name, "missing") for values in (reference, other))
            if one != two:
                raise UserError(
                    f"{name} is {two!r} for {names[0]}, but {one!r} for {references[0]}; start the "
                    "same command on every host, with the same code, data and number of devices"
                )


def code_digest() -> str:
    """Changes with the code of this package."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def check_shared(group: Group, folder: Path) -> None:
    """Checks that all of several processes see the same folder, which is created if missing.

    Raises:
      UserError: the folder cannot be written to, or is not shared.
    """
    if group.count == 1:
        return
    token, marker = f".{secrets.token_hex(8)}", None
    if group.first:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            marker = folder / token
            marker.touch()
        except OSError as error:
            raise UserError(
                f"cannot write to {folder} ({error.strerror or error}); name another --workdir"
            ) from error
    try:
        token = group.of_first("folder", token)
        seen = group.gather("seen", _appears(folder, token))
    finally:
        if marker is not None:
            with suppress(OSError):
                marker.unlink()
    blind = [names[0] for found, names in seen if not found]
    if blind:
        raise UserError(
            f"{blind[0]} does not see {folder} as process 0 does; name a --workdir that lies on a "
            "file system shared by all hosts"
        )


def _appears(folder: Path, name: str) -> bool:
    for _ in range(round(SEE / 0.5)):
        with suppress(OSError):
            # Listed, because network file systems remember for a while that a file is missing.
            if any(path.name == name for path in folder.iterdir()):
                return True
        time.sleep(0.5)
    return False
