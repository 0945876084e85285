"""Which of how many processes this one is, as flags, variables or the launcher say."""

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass

from gaussiansr_jax.errors import UserError

# The variables of a launcher: number of processes, number of this one.
LAUNCHERS = {
    "Slurm": ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    "Open MPI": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
}
# Variables from which JAX finds the coordinator.
COORDINATOR_KNOWN = ("SLURM_STEP_NODELIST", "OMPI_MCA_orte_hnp_uri")


@dataclass(frozen=True)
class Place:
    """A process among those that work together.

    Attributes:
      count: number of processes; None where JAX is to find out.
      index: number of this one, from 0; None where JAX is to find out.
      coordinator: HOST:PORT of process 0; None where JAX is to find out.
      on_host: number of processes on this host, None if unknown.
    """

    count: int | None = None
    index: int | None = None
    coordinator: str | None = None
    on_host: int | None = None


def find_place(
    environ: Mapping[str, str],
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> Place | None:
    """The place of this process; None if it is alone.

    The arguments take precedence over JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and
    JAX_PROCESS_ID, and these over Slurm, Open MPI, Kubernetes (an indexed job) and TPU pods.

    Args:
      environ: the environment's variables.
      coordinator: HOST:PORT of process 0.
      num_processes: number of processes.
      process_id: number of this one.

    Raises:
      UserError: the parts do not fit together, or one is missing.

    Examples:
      >>> find_place({}) is None
      True
      >>> find_place({"JAX_PROCESS_ID": "1"}, "node0:1234", 2).index
      1
    """
    coordinator = coordinator or environ.get("JAX_COORDINATOR_ADDRESS") or None
    count = _number(environ, "JAX_NUM_PROCESSES", num_processes)
    index = _number(environ, "JAX_PROCESS_ID", process_id)
    named = coordinator is not None or count is not None or index is not None
    for number_of, number in LAUNCHERS.values():
        if number_of in environ and number in environ:
            count = _number(environ, number_of, count)
            index = _number(environ, number, index)
    if index is None:
        index = _number(environ, "JOB_COMPLETION_INDEX", None) if named else None
    if not named and count is None:
        return Place() if _jax_may_know(environ) else None
    if count == 1 and coordinator is None:
        return None
    known = any(name in environ for name in COORDINATOR_KNOWN)
    parts = {
        "--coordinator HOST:PORT (JAX_COORDINATOR_ADDRESS)": coordinator or known or None,
        "--num_processes (JAX_NUM_PROCESSES)": count,
        "--process_id (JAX_PROCESS_ID)": index,
    }
    missing = [name for name, value in parts.items() if value is None]
    if missing:
        raise UserError(f"for several processes, {' and '.join(missing)} must be given, too")
    if coordinator is not None and not re.fullmatch(r".+:\d+", coordinator):
        raise UserError(
            f"the coordinator {coordinator!r} is not HOST:PORT; write it like node0:1234"
        )
    if not 0 <= index < count:
        raise UserError(
            f"process_id is {index}, but with num_processes={count} it must lie between 0 and "
            f"{count - 1}; number the processes from 0"
        )
    return Place(count, index, coordinator, _on_host(environ))


def _number(environ: Mapping[str, str], name: str, given: int | None) -> int | None:
    if given is not None or not environ.get(name):
        return given
    try:
        return int(environ[name])
    except ValueError as error:
        raise UserError(f"{name} is {environ[name]!r}; it must be a whole number") from error


def _jax_may_know(environ: Mapping[str, str]) -> bool:
    """Whether this is a TPU's host, or a pod of an indexed job that may ask Kubernetes."""
    if environ.get("JAX_PLATFORMS", "tpu").split(",")[0] == "tpu" and _installed("libtpu"):
        return True
    return "JOB_COMPLETION_INDEX" in environ and _installed("kubernetes")


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _on_host(environ: Mapping[str, str]) -> int | None:
    """Number of processes on this host."""
    if "OMPI_COMM_WORLD_LOCAL_SIZE" in environ:
        return _number(environ, "OMPI_COMM_WORLD_LOCAL_SIZE", None)
    # As in "4(x2),3": four on each of two hosts, three on another.
    counts: list[int] = []
    for part in environ.get("SLURM_STEP_TASKS_PER_NODE", "").split(","):
        if match := re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part):
            counts += [int(match[1])] * int(match[2] or 1)
    node = _number(environ, "SLURM_NODEID", None)
    return counts[node] if node is not None and node < len(counts) else None
