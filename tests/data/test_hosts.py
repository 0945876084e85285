"""Two processes read a pool together, each its share, and judge damaged images alike."""

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gaussiansr_jax.data.pool import build_pool
from gaussiansr_jax.data.sources import find_images


@pytest.fixture
def folder(tmp_path):
    """Eight images of one to four tiles."""
    path = tmp_path / "images"
    path.mkdir()
    for index, size in enumerate([(32, 32), (64, 64), (32, 50), (40, 40)] * 2):
        pixels = np.random.default_rng(index).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path / f"{index}.png")
    return path


def read_together(folder, skip=""):
    """What each of two processes of two devices printed: JSON or errors, and the exit status."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        port = str(listener.getsockname()[1])
    flags = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ["XLA_FLAGS"])
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    environment["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count=2"
    line = [sys.executable, str(Path(__file__).with_name("host.py")), str(folder), skip, port, "2"]
    processes = [
        subprocess.Popen(
            [*line, str(index)],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for index in range(2)
    ]
    try:
        return [(*process.communicate(timeout=120), process.returncode) for process in processes]
    finally:
        for process in processes:
            process.kill()


def digests(pool):
    return [hashlib.sha256(tile.tobytes()).hexdigest() for tile in pool.tiles]


def test_each_host_reads_its_share(folder):
    alone = build_pool(find_images(f"folder:{folder}"), 32, 24)
    ends = read_together(folder)
    assert [code for *_, code in ends] == [0, 0], ends
    hosts = [json.loads(out) for out, *_ in ends]
    expected = digests(alone)
    for host in hosts:
        assert host["total"] == len(expected) == 22
        part = slice(host["first"], host["first"] + len(host["tiles"]))
        assert host["tiles"] == expected[part] and host["sizes"] == alone.sizes[part].tolist()
        # Half of the headers, and the images of its own tiles.
        assert len(host["tiles"]) <= 12 and sum(Counter(host["opened"]).values()) <= 9
    assert hosts[0]["first"] == 0 and hosts[1]["first"] + len(hosts[1]["tiles"]) == 22
    assert hosts[1]["first"] <= len(hosts[0]["tiles"])


def test_all_skip_what_one_cannot_read(folder):
    damaged, unknown = folder / "6.png", folder / "1.png"
    damaged.write_bytes(damaged.read_bytes()[:2000])  # its header is whole
    unknown.write_text("no image")
    ends = read_together(folder, "skip")
    assert [code for *_, code in ends] == [0, 0], ends
    hosts = [json.loads(out) for out, *_ in ends]
    damaged.unlink()
    unknown.unlink()
    expected = digests(build_pool(find_images(f"folder:{folder}"), 32, 24))
    for host in hosts:
        assert host["total"] == len(expected) == 16
        assert host["tiles"] == expected[host["first"] : host["first"] + len(host["tiles"])]
    for _, err, _ in ends:
        assert "skipped: 1 image cannot be read: " in err and "6.png" in err and "1.png" in err
    assert any("6.png (image file is truncated" in err for _, err, _ in ends)


def test_all_end_with_one_sentence(folder):
    damaged = folder / "6.png"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    for _, err, code in read_together(folder):
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        assert code == 1 and len(errors) == 1 and "6.png" in errors[0], err
        assert "Traceback" not in err
