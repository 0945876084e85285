"""What starts many processes: Open MPI where it is installed, Slurm's variables, the manifests."""

import os
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext

import jobs
import pytest
import yaml
from jax._src.clusters.ompi_cluster import OmpiCluster
from jax._src.clusters.slurm_cluster import SlurmCluster

from gaussiansr_jax.commands import train
from gaussiansr_jax.distributed import Place, find_place
from gaussiansr_jax.training.config import default_config

ROOT = jobs.HERE.parents[1]
PAGE = (ROOT / "docs/pods.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.processes
@pytest.mark.skipif(shutil.which("mpirun") is None, reason="Open MPI is not installed")
def test_open_mpi_starts_two_processes(uninterrupted, source, tmp_path):
    settings = {**jobs.SETTINGS, "source": source}
    line = [*"mpirun -n 2 --bind-to none --oversubscribe --allow-run-as-root".split()]  # noqa: SIM905
    line += [sys.executable, "train.py", "--config=configs/quickstart.py", "--start_timeout=60"]
    line += [f"--workdir={tmp_path / 'run'}", *(f"--config.{k}={v}" for k, v in settings.items())]
    xla = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")
    ended = subprocess.run(
        line,
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": xla},
        text=True,
        capture_output=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended
    assert ended.stdout.count("starting in") == 1 and ", 2 x cpu\n" in ended.stdout
    jobs.assert_equal_runs(tmp_path / "run", uninterrupted)


def test_a_launcher_can_be_ignored(monkeypatch):
    for name, value in jobs.slurm(1, 2, 50123).items():
        monkeypatch.setenv(name, value)
    try:
        assert train.place(["train"]).count == 2
        assert train.place(["train", "--nodistributed"]) is None
    finally:
        train.PROCESSES["distributed"].unparse()


def test_a_process_that_is_alone_keeps_its_compiled_programs(monkeypatch):
    calls = []
    monkeypatch.setattr(train, "start_jax", lambda: calls.append("start_jax"))
    monkeypatch.setattr(train.app, "run", lambda *_, **__: calls.append("run"))
    monkeypatch.setattr(train.distributed, "joined", lambda *_: nullcontext())
    train.main(["--config=quickstart"])
    assert calls == ["start_jax", "run"]
    for name, value in jobs.slurm(1, 2, 50123).items():
        monkeypatch.setenv(name, value)
    train.main(["--config=quickstart"])
    assert calls == ["start_jax", "run", "run"]


def test_jax_reads_what_slurm_sets(monkeypatch):
    variables = jobs.slurm(1, 2, 50123)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert SlurmCluster.is_env_present()
    assert SlurmCluster.get_coordinator_address(60, "50123") == "localhost:50123"
    found = (SlurmCluster.get_process_count(), SlurmCluster.get_process_id())
    place = find_place(variables)
    assert found == (place.count, place.index) == (2, 1)
    # A task for each device takes the device of its number on this host.
    assert place.on_host == 2 and SlurmCluster.get_local_process_id() == 1


def test_jax_reads_what_open_mpi_sets(monkeypatch):
    variables = {
        "OMPI_MCA_orte_hnp_uri": "699596800.0;tcp://192.0.2.2:49407;tcp6://[fd00::2]:52849",
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_RANK": "1",
        "OMPI_COMM_WORLD_LOCAL_SIZE": "1",
        "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert OmpiCluster.is_env_present() and find_place(variables) == Place(2, 1, None, 1)
    assert OmpiCluster.get_coordinator_address(60, "1234") == "192.0.2.2:1234"
    assert (OmpiCluster.get_process_count(), OmpiCluster.get_process_id()) == (2, 1)


@pytest.mark.parametrize("script", blocks("bash"), ids=lambda script: script.strip()[:30])
def test_scripts_are_of_the_shell(script):
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_commands_of_launchers_are_understood():
    known = {f"--{flag.name}" for flag in train.OWN}
    texts = [text.replace("\\\n", " ") for text in blocks("bash")]
    texts += [" ".join(container()["command"])]
    commands = [line for text in texts for line in re.findall(r"train\.py (.*)", text)]
    assert len(commands) >= 5
    for command in commands:
        assert (ROOT / re.search(r"--config (\S+)", command)[1]).is_file()
        for option in re.findall(r"--[\w.]+", command):
            setting = option.removeprefix("--config.")
            assert option in known or setting in default_config(), command


def manifests():
    (text,) = blocks("yaml")
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


def container():
    (only,) = manifests()["Job"]["spec"]["template"]["spec"]["containers"]
    return only


def test_the_pods_of_kubernetes_find_each_other():
    service, job = manifests()["Service"], manifests()["Job"]["spec"]
    name = manifests()["Job"]["metadata"]["name"]
    pods, environ = job["template"]["spec"], {e["name"]: e["value"] for e in container()["env"]}
    # A headless service gives each pod the name JOB-INDEX.SERVICE, also before it is ready.
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"] == {"job-name": name}
    assert pods["subdomain"] == service["metadata"]["name"]
    assert environ["JAX_COORDINATOR_ADDRESS"].split(":")[0] == f"{name}-0.{pods['subdomain']}"
    assert job["completionMode"] == "Indexed"
    count = job["completions"]
    assert count == job["parallelism"] == int(environ["JAX_NUM_PROCESSES"])
    assert {mount["name"] for mount in container()["volumeMounts"]} == {
        volume["name"] for volume in pods["volumes"]
    }
    place = find_place({**environ, "JOB_COMPLETION_INDEX": "3"})
    assert place == Place(count, 3, environ["JAX_COORDINATOR_ADDRESS"])
    batch = int(re.search(r"batch_size=(\d+)", " ".join(container()["command"]))[1])
    assert batch % (count * container()["resources"]["limits"]["nvidia.com/gpu"]) == 0
