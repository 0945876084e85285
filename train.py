"""Trains a model.

    python train.py --config configs/NAME.py --workdir DIR [--config.key=value ...]

The same command again goes on from where the last one stopped.
"""

import os
import re
import sys
from pathlib import Path

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from gaussiansr_jax.errors import UserError, run_cli

CONFIG = config_flags.DEFINE_config_file("config", None, "A file of configs/.", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", None, "The folder of the run; it is made if need be.")
DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    False,
    "Several hosts: start the same command on each, with a workdir that all of them see. JAX finds "
    "the others by itself under Slurm, Open MPI or on TPUs; elsewhere set JAX_COORDINATOR_ADDRESS, "
    "JAX_NUM_PROCESSES and JAX_PROCESS_ID.",
)


def parse(argv: list[str]) -> list[str]:
    """Parses the flags; whatever is wrong with them or with the config is one sentence."""
    try:
        rest = flags.FLAGS(argv)
        config = CONFIG.value
        if config is not None:
            config.to_dict()  # where the file could not be read, the first use of it says so
    # config_flags raises what the config file raises, besides errors of its own.
    except Exception as error:
        raise UserError(_sentence(error)) from error
    if len(rest) > 1:
        raise UserError(f"unknown argument {rest[1]!r}; settings are given as --config.key=value")
    if config is None or not WORKDIR.value:
        raise UserError("give --config configs/NAME.py and --workdir DIR")
    return rest


def _sentence(error: Exception) -> str:
    """What an error of the flags says, as one line."""
    if isinstance(error, KeyError | AttributeError):
        name = re.search(r"'(\w+)", str(error))
        hint = re.search(r'mean "(\w+)"', str(error))
        hint = f"did you mean {hint[1]!r}?" if hint else "see gaussiansr_jax/training/config.py"
        return f"unknown setting {name[1] if name else error!r}; {hint}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else repr(error)


def main(argv: list[str]) -> None:
    """Trains as the flags say."""
    del argv
    if flags.FLAGS["verbosity"].value >= logging.INFO and "--verbosity" not in " ".join(sys.argv):
        # Orbax tells at INFO of every file that it touches.
        logging.set_verbosity(logging.WARNING)
    from gaussiansr_jax.training.loop import train

    if DISTRIBUTED.value:
        number, of = (os.environ.get(f"JAX_{name}") for name in ("PROCESS_ID", "NUM_PROCESSES"))
        jax.distributed.initialize(
            process_id=int(number) if number else None, num_processes=int(of) if of else None
        )
    train(CONFIG.value, Path(WORKDIR.value))


if __name__ == "__main__":
    run_cli(lambda: app.run(main, flags_parser=parse))
