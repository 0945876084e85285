"""Processes that do not fit together end with one sentence each, before any harm is done."""

import socket

import jobs
import pytest

pytestmark = pytest.mark.processes


def ends(started, *words):
    """All processes end with one sentence that has these words."""
    ended = jobs.end(started)
    for process in ended:
        assert process.code == 1 and len(process.errors) == 1, ended
        for word in words:
            assert word in process.errors[0], ended
        assert "Traceback" not in process.err and "stack trace" not in process.err
    return ended


def pair(workdir, source, *, second, fault="", **settings):
    port = jobs.free_port()
    settings["source"] = source
    return [
        jobs.start(0, 2, port, workdir, **settings),
        jobs.start(1, 2, port, workdir, fault, **{**settings, **second}),
    ]


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"learning_rate": 0.5}, ["config.learning_rate is 0.5 for process 1 on", "0.002 for"]),
        ({"devices": 2}, ["devices of the process is 2 for process 1 on", "1 for process 0"]),
        ({"fault": "code"}, ["code is 'another' for process 1 on"]),
        ({"flags": ["--config.stepz=1"]}, ["unknown setting 'stepz'"]),
        ({"flags": ["--num_processes=3"]}, ["was told of 3 processes, process 0 of 2"]),
    ],
    ids=["config", "devices", "code", "bad setting", "number"],
)
def test_different_commands(source, tmp_path, second, words):
    fault = second.pop("fault", "")
    ends(pair(tmp_path / "run", source, second=second, fault=fault), *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("missing", ["all images", "one image", "the workdir"])
def test_different_hosts(tmp_path, missing):
    homes = [tmp_path / f"host{number}" for number in range(2)]
    for number, home in enumerate(homes):
        home.mkdir()
        if number == 0 or missing != "all images":
            (home / "images").mkdir()
            jobs.images(home / "images")
    if missing == "one image":
        (homes[1] / "images" / "3.png").unlink()
    words = {
        "all images": ["there is no folder ~/images"],
        "one image": ["number of training images is 4 for process 1 on"],
        "the workdir": ["process 1 on", "does not see", "as process 0 does"],
    }[missing]
    flags = ["--workdir=~/run"] if missing == "the workdir" else []
    port = jobs.free_port()
    ends(
        [
            jobs.start(
                number,
                2,
                port,
                tmp_path / "run",
                source="folder:~/images",
                environ={"HOME": str(home)},
                flags=flags,
            )
            for number, home in enumerate(homes)
        ],
        *words,
    )


def test_a_process_that_never_comes(source, tmp_path):
    port, flags = jobs.free_port(), ["--start_timeout=8"]
    started = [jobs.start(0, 3, port, tmp_path / "run", source=source, flags=flags)]
    started += [jobs.start(1, 3, port, tmp_path / "run", source=source, flags=flags)]
    ends(started, "did not come together in time", "--num_processes")


def test_a_port_in_use(source, tmp_path):
    with socket.create_server(("", 0)) as other:
        port = other.getsockname()[1]
        started = jobs.start(0, 2, port, tmp_path / "run", source=source, launcher=jobs.slurm)
        ends([started], f"cannot listen at the coordinator's port {port}", "JAX_COORDINATOR_PORT")
