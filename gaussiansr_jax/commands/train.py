"""`python -m gaussiansr_jax train`: trains a model.

    gaussiansr train --config NAME --workdir DIR [--config.key=value ...]

NAME is the path of a config file, or the name of one that comes with the package. The same command
again resumes where the last one stopped. Several processes, on one host or many, run the same
command each; see docs/pods.md.
"""

import os
import re
import sys
from pathlib import Path

from gaussiansr_jax import distributed
from gaussiansr_jax.errors import UserError, needs_extra

with needs_extra("training", "train"):
    from absl import app, flags, logging
    from ml_collections import config_flags

    from gaussiansr_jax.commands.helpers.startup import start_jax
    from gaussiansr_jax.commands.helpers.train_help import train_help

# Those that come with the package.
CONFIGS = Path(__file__).parents[1] / "configs"

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A config file, or the name of one in configs/.", lock_config=True
)
WORKDIR = flags.DEFINE_string("workdir", None, "The folder of the run; created if missing.")

# Read first: the processes come together before the config is read.
PROCESSES = flags.FlagValues()
DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    None,
    "Several processes work together. By default so under Slurm, Open MPI, Kubernetes and on TPU "
    "pods, and where the flags below or JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and "
    "JAX_PROCESS_ID are given. --nodistributed: this process is alone.",
    flag_values=PROCESSES,
)
COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "HOST:PORT of process 0.", flag_values=PROCESSES
)
NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "Number of processes.", flag_values=PROCESSES
)
PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "Number of this process, from 0.", flag_values=PROCESSES
)
START_TIMEOUT = flags.DEFINE_integer(
    "start_timeout", 300, "Seconds in which all processes must start.", flag_values=PROCESSES
)
flags.FLAGS.append_flag_values(PROCESSES)
OWN = (CONFIG, WORKDIR, DISTRIBUTED, COORDINATOR, NUM_PROCESSES, PROCESS_ID, START_TIMEOUT)
HELP = ("--help", "-h", "-help")


def place(argv: list[str]) -> distributed.Place | None:
    """Which of how many processes this one is."""
    try:
        PROCESSES(argv, known_only=True)
    except flags.Error as error:
        raise UserError(_sentence(error)) from error
    if DISTRIBUTED.value is False:
        return None
    found = distributed.find_place(
        os.environ, COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value
    )
    if DISTRIBUTED.value and found is None:
        raise UserError(
            "no launcher says which processes there are; give --coordinator HOST:PORT, "
            "--num_processes and --process_id"
        )
    return found


def parse(argv: list[str], complete: bool = True) -> list[str]:
    """Parses the flags; whatever is wrong with them or with the config is one sentence.

    Args:
      argv: the command.
      complete: whether a config and a folder must be among them.
    """
    try:
        rest = flags.FLAGS(argv)
        config = CONFIG.value
        if config is not None:
            config.to_dict()  # where the file could not be read, the first use of it says so
    # config_flags raises its own errors, and whatever the config file raises.
    except Exception as error:
        raise UserError(_sentence(error)) from error
    if len(rest) > 1:
        raise UserError(f"unknown argument {rest[1]!r}; settings are given as --config.key=value")
    if complete and (config is None or not WORKDIR.value):
        raise UserError("give --config configs/NAME.py and --workdir DIR")
    return rest


def _sentence(error: Exception) -> str:
    """What an error of the flags says, as one line."""
    if isinstance(error, KeyError | AttributeError):
        name = re.search(r"'(\w+)", str(error))
        hint = re.search(r'mean "(\w+)"', str(error))
        hint = f"did you mean {hint[1]!r}?" if hint else "--help lists them"
        return f"unknown setting {name[1] if name else error!r}; {hint}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else repr(error)


def main(argv: list[str]) -> None:
    """Joins the other processes, if there are any, and trains.

    Args:
      argv: the flags.
    """
    argv = ["train", *map(_with_path, argv)]
    if "--config" in argv[:-1]:
        value = argv.index("--config") + 1
        argv[value] = _path(argv[value])
    if any(argument in HELP for argument in argv):
        parse([a for a in argv if a not in HELP], complete=False)
        print(train_help(OWN, CONFIG.value))
        return
    found = place(argv)
    if found is None:  # several have to come together before any of JAX starts
        start_jax()
    with distributed.joined(found, START_TIMEOUT.value if found else 0):
        app.run(_train, argv, flags_parser=parse)


def _with_path(argument: str) -> str:
    name, _, value = argument.partition("=")
    return f"{name}={_path(value)}" if name == "--config" and value else argument


def _path(config: str) -> str:
    """The path of a config: itself or, of NAME and configs/NAME.py, the shipped file.

    What follows a colon is what the file's `get_config` takes; it stays.
    """
    name, colon, argument = config.partition(":")
    path = Path(name)
    shipped = CONFIGS / f"{path.stem}.py"
    named = (str(path.parent) == "." and not path.suffix) or path.parts[:-1] == ("configs",)
    found = named and not path.is_file() and shipped.is_file()
    return f"{shipped}{colon}{argument}" if found else config


def _train(argv: list[str]) -> None:
    """Trains as the flags say."""
    if flags.FLAGS["verbosity"].value >= logging.INFO and "--verbosity" not in " ".join(sys.argv):
        # Orbax tells at INFO of every file that it touches.
        logging.set_verbosity(logging.WARNING)
    from gaussiansr_jax.training.loop import train

    train(CONFIG.value, Path(WORKDIR.value))
