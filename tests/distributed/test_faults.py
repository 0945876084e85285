"""What happens to machines: the others say so and end; the same command then continues exactly.

Each test lets one run suffer one fault after the other. After each, the same command continues it.
"""

import os
import shutil

import jobs
import pytest

from gaussiansr_jax.training import workdir as files

pytestmark = pytest.mark.processes


def suffer(workdir, source, continues, faults):
    """The command with faults by number of the process; it continues from a step, or starts."""
    ended = jobs.run(workdir, faults=faults, source=source)
    check_begin(ended, continues)
    return ended


def check_begin(ended, continues):
    first, second = ended
    begin = "starting in" if continues is None else f"continuing from step {continues} of"
    assert begin in first.out, ended
    assert "starting" not in second.out and "continuing" not in second.out  # said once


def check_end(workdir, source, continues, uninterrupted, note=""):
    """The command without a fault; the result is that of an uninterrupted run."""
    first, second = suffer(workdir, source, continues, {})
    assert (first.code, second.code) == (0, 0), (first, second)
    assert note in first.out
    # Nothing is left of what was half written.
    assert {path.name for path in (workdir / files.FOLDER).iterdir()} == {"15", "20"}
    jobs.assert_equal_runs(workdir, uninterrupted)


def test_killed(uninterrupted, source, tmp_path):
    """A process, then the coordinator, then the coordinator in the middle of a save."""
    workdir, continues = tmp_path / "run", None
    for victim, fault, saved in [(1, "kill:8", 5), (0, "kill:13", 10), (0, "save:15", 10)]:
        ended = suffer(workdir, source, continues, {victim: fault})
        assert ended[victim].code == -9, ended
        other = ended[1 - victim]
        assert other.code == 1 and len(other.errors) == 1, other
        assert f"process {victim} on" in other.errors[0] and "is gone" in other.errors[0]
        assert "run the same command again to continue from the last" in other.errors[0]
        for noise in ("Traceback", "stack trace", "F11", "Gloo"):
            assert noise not in other.err
        jobs.assert_equal_so_far(workdir, uninterrupted)
        continues = saved
    check_end(workdir, source, continues, uninterrupted)


def test_all_else(uninterrupted, images, tmp_path):
    workdir, copy = tmp_path / "run", tmp_path / "images"
    source = f"folder:{copy}"
    shutil.copytree(images, copy)
    cannot_be_read(workdir, source, copy / "2.png")
    freezes(workdir, source, None, 8)
    jobs.assert_equal_so_far(workdir, uninterrupted)
    is_asked_to_stop(workdir, source, 5, "term:8", "a signal to another process at step 9")
    jobs.assert_equal_so_far(workdir, uninterrupted)
    has_a_full_disk(workdir, source, 9, 10)
    jobs.assert_equal_so_far(workdir, uninterrupted)
    is_asked_to_stop(workdir, source, 9, "int:11", "SIGINT at step 12", victim=0)
    jobs.assert_equal_so_far(workdir, uninterrupted)
    crashes(workdir, source, 12, 17)
    jobs.assert_equal_so_far(workdir, uninterrupted)
    check_end(workdir, source, 15, uninterrupted)
    truncate(workdir, 20)
    note = "the checkpoint of step 20 is damaged ("
    check_end(workdir, source, 15, uninterrupted, note)
    assert (workdir / "checkpoints" / "damaged-20").is_dir()


def cannot_be_read(workdir, source, image):
    content = image.read_bytes()
    image.write_bytes(content[: len(content) // 2])
    for ended in suffer(workdir, source, None, {}):
        assert ended.code == 1 and len(ended.errors) == 1, ended
        assert "1 image cannot be read" in ended.errors[0] and image.name in ended.errors[0]
    image.write_bytes(content)


def freezes(workdir, source, continues, step):
    port, settings = jobs.free_port(), {"source": source}
    settings["environ"] = {"GAUSSIANSR_JAX_PEER_TIMEOUT": "8"}
    frozen = jobs.start(1, 2, port, workdir, f"freeze:{step}", **settings)
    other = jobs.start(0, 2, port, workdir, **settings)
    (ended,) = jobs.end([other])
    assert ended.code == 1 and "process 1 on" in ended.errors[0], ended
    assert "has been silent for 8 s" in ended.errors[0]
    assert frozen[0].poll() is None
    frozen[0].kill()
    check_begin([ended, *jobs.end([frozen])], continues)


def is_asked_to_stop(workdir, source, continues, fault, words, victim=1):
    """A signal to one process lets all save and stop."""
    first, second = suffer(workdir, source, continues, {victim: fault})
    assert (first.code, second.code) == (0, 0), (first, second)
    assert f"stopped by {words}; saved in" in first.out


def crashes(workdir, source, continues, step):
    first, second = suffer(workdir, source, continues, {1: f"crash:{step}"})
    assert (first.code, second.code) == (1, 1), (first, second)
    assert second.errors == ["error: RuntimeError: nobody foresaw this"]
    assert "Traceback" in second.err and "Traceback" not in first.err
    (error,) = first.errors
    assert "process 1 on" in error and error.endswith(second.errors[0].removeprefix("error: "))


def has_a_full_disk(workdir, source, continues, step):
    first, second = suffer(workdir, source, continues, {0: f"full:{step}"})
    assert (first.code, second.code) == (1, 1), (first, second)
    assert len(first.errors) == len(second.errors) == 1
    assert "File too large" in first.errors[0] and "run the same command again" in first.errors[0]
    assert second.errors[0].endswith(first.errors[0].removeprefix("error: "))


def truncate(workdir, step):
    # All files of data: OCDBT also keeps versions that nothing refers to any more.
    data = workdir / files.FOLDER / f"{step}" / "state" / "ocdbt.process_0" / "d"
    for path in data.iterdir():
        os.truncate(path, path.stat().st_size // 2)
