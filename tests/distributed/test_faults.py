"""What happens to machines: the others say so and end; the same command then continues exactly."""

import os
import shutil

import jobs
import pytest

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return jobs.images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """An uninterrupted run of two tasks of Slurm."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    ended = jobs.run(workdir, source=f"folder:{folder}", launcher=jobs.slurm)
    assert [process.code for process in ended] == [0, 0], ended
    return workdir


def check(workdir, whole, folder, step, note=""):
    """The same command continues from a step, and the result is that of an uninterrupted run."""
    first, second = jobs.run(workdir, source=f"folder:{folder}")
    assert (first.code, second.code) == (0, 0), (first, second)
    assert f"continuing from step {step} of" in first.out and note in first.out
    assert "continuing" not in second.out  # said once
    jobs.assert_equal_runs(workdir, whole)


@pytest.mark.parametrize(
    ("victim", "fault", "step"),
    [(1, "kill:13", 10), (0, "kill:13", 10), (0, "save:10", 5)],
    ids=["process killed", "coordinator killed", "killed while saving"],
)
def test_killed(whole, folder, tmp_path, victim, fault, step):
    workdir = tmp_path / "run"
    ended = jobs.run(workdir, faults={victim: fault}, source=f"folder:{folder}")
    assert ended[victim].code == -9
    other = ended[1 - victim]
    assert other.code == 1 and len(other.errors) == 1, other
    assert f"process {victim} on" in other.errors[0] and "is gone" in other.errors[0]
    assert "run the same command again to continue from the last checkpoint" in other.errors[0]
    for noise in ("Traceback", "stack trace", "F11", "Gloo"):
        assert noise not in other.err
    check(workdir, whole, folder, step)


def test_frozen(whole, folder, tmp_path):
    workdir = tmp_path / "run"
    port, settings = jobs.free_port(), {"source": f"folder:{folder}"}
    settings["environ"] = {"GAUSSIANSR_JAX_PEER_TIMEOUT": "4"}
    frozen = jobs.start(1, 2, port, workdir, "freeze:8", **settings)
    other = jobs.start(0, 2, port, workdir, **settings)
    (ended,) = jobs.end([other])
    assert ended.code == 1 and "process 1 on" in ended.errors[0]
    assert "has been silent for 4 s" in ended.errors[0]
    assert frozen[0].poll() is None
    frozen[0].kill()
    jobs.end([frozen])
    check(workdir, whole, folder, 5)


def test_sigterm_to_one_saves_and_stops_all(whole, folder, tmp_path):
    workdir = tmp_path / "run"
    first, second = jobs.run(workdir, faults={1: "term:8"}, source=f"folder:{folder}")
    assert (first.code, second.code) == (0, 0), (first, second)
    assert "stopped by a signal to another process at step 9; saved in" in first.out
    check(workdir, whole, folder, 9)


def test_truncated_checkpoint(whole, folder, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    # All files of data: OCDBT also keeps versions that nothing refers to any more.
    data = workdir / "checkpoints" / "latest" / "20" / "state" / "ocdbt.process_0" / "d"
    for path in data.iterdir():
        os.truncate(path, path.stat().st_size // 2)
    check(workdir, whole, folder, 15, note="the checkpoint of step 20 is damaged (")
    assert (workdir / "checkpoints" / "damaged-20").is_dir()


def test_full_disk(whole, folder, tmp_path):
    workdir = tmp_path / "run"
    first, second = jobs.run(workdir, faults={0: "full:15"}, source=f"folder:{folder}")
    assert (first.code, second.code) == (1, 1), (first, second)
    assert len(first.errors) == len(second.errors) == 1
    assert "File too large" in first.errors[0] and "run the same command again" in first.errors[0]
    assert second.errors[0].endswith(first.errors[0].removeprefix("error: "))
    check(workdir, whole, folder, 10)


def test_corrupt_image(whole, folder, tmp_path):
    workdir, images = tmp_path / "run", tmp_path / "images"
    shutil.copytree(folder, images)
    whole_file = (images / "2.png").read_bytes()
    (images / "2.png").write_bytes(whole_file[: len(whole_file) // 2])
    for ended in jobs.run(workdir, source=f"folder:{images}"):
        assert ended.code == 1 and len(ended.errors) == 1
        assert "1 image cannot be read" in ended.errors[0] and "2.png" in ended.errors[0]
    (images / "2.png").write_bytes(whole_file)
    for ended in jobs.run(workdir, source=f"folder:{images}"):
        assert ended.code == 0, ended
    jobs.assert_equal_runs(workdir, whole)
