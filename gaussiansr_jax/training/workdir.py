"""What lies in the folder of a training run, besides its checkpoints."""

import json
from pathlib import Path
from typing import Any

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.files import atomic_write

CONFIG, FOLDER, WEIGHTS = "config.json", "checkpoints/latest", "model.safetensors"


def read_config(workdir: Path) -> dict[str, Any] | None:
    """The config that a run was started with, None if there is no run.

    Raises:
      UserError: the file is damaged.
    """
    path = workdir / CONFIG
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); name another --workdir") from error


def check_same_model(workdir: Path, model: dict[str, Any]) -> None:
    """Checks that a folder with checkpoints holds the training of this model.

    Raises:
      UserError: it is another one.
    """
    old = read_config(workdir)
    if old is not None and old.get("model") != model and list((workdir / FOLDER).glob("[0-9]*")):
        raise UserError(
            f"{workdir} holds the training run of another model, {old.get('model')}; "
            f"name another --workdir for {model}"
        )


def write_config(workdir: Path, config: dict[str, Any]) -> None:
    """Stores the config of a run.

    Raises:
      UserError: the folder cannot be written.
    """
    with atomic_write(workdir / CONFIG) as temporary:
        temporary.write_text(json.dumps(config, indent=1) + "\n")
