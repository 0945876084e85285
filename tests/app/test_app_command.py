"""`python -m gaussiansr_jax app` as people start it."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from gaussiansr_jax import UserError
from gaussiansr_jax.__main__ import main
from gaussiansr_jax.app.listening import listen


def test_a_busy_port_is_passed_over():
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with listen("127.0.0.1", port) as second:
            assert port < second.getsockname()[1] <= port + 20


def test_addresses_that_are_not_ours_are_refused(monkeypatch):
    with pytest.raises(UserError, match="check --host"):
        listen("203.0.113.7", 7860)
    with pytest.raises(UserError, match="not a port"):
        main(["app", "--port", "70000"])
    monkeypatch.setattr("gaussiansr_jax.app.listening._PORTS_TRIED", 1)
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"{port} to {port} are in use; pass another --port"):
            listen("127.0.0.1", port)


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "gaussiansr_jax.app.listening", raising=False)
    with pytest.raises(UserError, match=r"the package uvicorn; .*'gaussiansr-jax\[app\]'"):
        main(["app"])


def test_the_page_is_served_until_it_is_interrupted(tmp_path, weights):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "GAUSSIANSR_JAX_CACHE": ""}
    command = [sys.executable, "-m", "gaussiansr_jax", "app", "--port", "0", "--weights", weights]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **streams) as process:
        address = process.stdout.readline().split()[1]
        assert address.startswith("http://127.0.0.1:")
        body = answer(f"{address}/")
        assert b"GaussianSR" in body
        host, port = address.removeprefix("http://").split(":")
        # Only this machine is listened to.
        with pytest.raises(OSError), socket.create_connection((other_address(), int(port)), 2):
            pass
        assert host == "127.0.0.1"
        assert list(tmp_path.glob("gaussiansr-jax-app-*"))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")
    assert not list(tmp_path.glob("gaussiansr-jax-app-*"))


def answer(url):
    end = time.monotonic() + 30
    while True:
        try:
            return urllib.request.urlopen(url, timeout=10).read()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def other_address():
    """An address of this machine that is not loopback, or of a machine that does not exist."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))
            return probe.getsockname()[0]
        except OSError:
            return "203.0.113.1"


@pytest.mark.processes
def test_the_benchmark_of_views(weights):
    root = Path(__file__).parents[2]
    command = [sys.executable, str(root / "benchmarks" / "app_views.py"), "--weights", weights]
    command += ["--size", "64x48", "--seconds", "0.3"]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert "views of 64x48" in lines[0]
    for line, encoding in zip(lines[2:], ("raw", "compact"), strict=True):
        found = line.removeprefix(weights).split()
        assert found[0] == encoding
        assert all(float(figure) > 0 for figure in found[1:4])
