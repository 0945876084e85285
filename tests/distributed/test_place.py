"""Launchers' variables, flags, and shares."""

import jobs
import pytest

from gaussiansr_jax.distributed import Place, Share, find_place, parse_share
from gaussiansr_jax.errors import UserError

OPEN_MPI = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "1",
}
JAX = {
    "JAX_COORDINATOR_ADDRESS": "node0:12",
    "JAX_NUM_PROCESSES": "4",
    "JAX_PROCESS_ID": "3",
}

UNEVEN = {"SLURM_STEP_TASKS_PER_NODE": "4(x2),3", "SLURM_NODEID": "2"}


@pytest.mark.parametrize(
    ("environ", "flags", "place"),
    [
        ({}, {}, None),
        (JAX, {}, Place(4, 3, "node0:12")),
        (JAX, {"process_id": 0}, Place(4, 0, "node0:12")),
        (OPEN_MPI, {}, Place(4, 3, None, 1)),
        ({**OPEN_MPI, **JAX, "JAX_PROCESS_ID": "2"}, {}, Place(4, 2, "node0:12", 1)),
        (jobs.slurm(1, 2, 1), {}, Place(2, 1, None, 2)),
        ({**jobs.slurm(5, 11, 1), **UNEVEN}, {}, Place(11, 5, None, 3)),
        (jobs.slurm(0, 1, 1), {}, None),
        ({"JOB_COMPLETION_INDEX": "2"}, {}, None),
        ({**JAX, "JAX_PROCESS_ID": "", "JOB_COMPLETION_INDEX": "2"}, {}, Place(4, 2, "node0:12")),
    ],
)
def test_place(environ, flags, place):
    assert find_place(environ, **flags) == place


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        (
            {"JAX_NUM_PROCESSES": "2"},
            "--coordinator HOST:PORT .* and --process_id .* must be given",
        ),
        # Open MPI 5 does not say where process 0 is.
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, "--coordinator HOST:PORT"),
        ({**JAX, "JAX_PROCESS_ID": "4"}, "process_id is 4, but with num_processes=4"),
        ({**JAX, "JAX_NUM_PROCESSES": "many"}, "JAX_NUM_PROCESSES is 'many'; it must be a whole"),
        ({**JAX, "JAX_COORDINATOR_ADDRESS": "node0"}, "'node0' is not HOST:PORT"),
    ],
)
def test_places_that_do_not_fit(environ, words):
    with pytest.raises(UserError, match=words):
        find_place(environ)


def test_shares():
    assert parse_share(None, jobs.slurm(1, 2, 1)) == Share(0, 1)
    assert parse_share("auto", jobs.slurm(1, 2, 1)) == Share(1, 2)
    assert parse_share("auto", OPEN_MPI) == Share(3, 4)
    names = ("ID", "MIN", "STEP", "COUNT")
    array = dict(zip((f"SLURM_ARRAY_TASK_{n}" for n in names), ("7", "1", "3", "4"), strict=True))
    assert parse_share("auto", array) == Share(2, 4)
    with pytest.raises(UserError, match=r"finds neither a launcher .* give --share INDEX/COUNT"):
        parse_share("auto", {})
    items = list(range(11))
    parts = [Share(index, 3).of(items) for index in range(3)]
    assert sorted(item for part in parts for item in part) == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
