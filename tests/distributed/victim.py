"""train.py, to which at a given step happens what happens to machines.

    python victim.py FAULT:STEP [train.py's arguments]

VICTIM=sgd in the environment: trains by plain gradient descent.

Faults: code (of another version, from the start), kill (in the middle of a step), save (killed in
the middle of a save), crash (an error that nobody foresaw), freeze, term (as a scheduler's notice),
int (Ctrl-C), full (files of this process cannot grow any more), connected (no fault: fails if
devices of processes connect to each other after the start).
"""

import asyncio
import os
import resource
import runpy
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from jax._src import compiler

from gaussiansr_jax import distributed
from gaussiansr_jax.training import loop, step
from gaussiansr_jax.training.state import local

ROOT = Path(__file__).resolve().parents[2]
fault, _, at = sys.argv.pop(1).partition(":")

# Every process keeps its compiled programs for those of later runs; in JAX process 0 alone does.
compiler.distributed = SimpleNamespace(global_state=SimpleNamespace(process_id=0, client=None))

if "sgd" in os.environ.get("VICTIM", ""):
    import optax

    from gaussiansr_jax.training import checkpoints

    # Whose parameters differ as the gradients do; Adam's differ by their signs.
    loop.build_optimizer = lambda *_: optax.sgd(0.1)
    save = checkpoints.Checkpoints.save

    def save_first(self, state, *args):
        save(self, state, *args)
        if int(local(state.step)) == 1:
            np.save(self._workdir / "after-one-step.npy", local(state.params))

    checkpoints.Checkpoints.save = save_first


def strike():
    if fault == "full":
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, hard))
    elif fault == "crash":
        raise RuntimeError("nobody foresaw this")
    else:
        signals = {"term": signal.SIGTERM, "int": signal.SIGINT, "freeze": signal.SIGSTOP}
        os.kill(os.getpid(), signals.get(fault, signal.SIGKILL))


if fault == "save":
    import orbax.checkpoint as ocp

    write = ocp.JsonCheckpointHandler.async_save

    async def dying(self, directory, *args, **kwargs):
        step = Path(directory).parent
        if step.name.startswith(f"{at}."):
            while not any(path.is_file() for path in step.glob("state*/**/*")):
                await asyncio.sleep(0.001)
            strike()
        return await write(self, directory, *args, **kwargs)

    ocp.JsonCheckpointHandler.async_save = dying
elif fault == "connected":
    load, train, before = loop.load_data, loop.Run.run, []

    def connections():
        # Native code's messages go to a file meanwhile.
        return Path("/proc/self/fd/1").read_text().count("[Gloo] Rank")

    def load_data(*given):
        before.append(connections())
        return load(*given)

    def trained(self):
        facts = train(self)
        assert 0 < before[0] == connections(), (before, connections())
        return facts

    loop.load_data, loop.Run.run = load_data, trained
elif fault == "code":
    distributed.code_digest = lambda: "another"
elif fault:
    dispatch, calls = step.Dispatcher.__call__, []

    def struck(self, state, *args):
        calls.append(1)
        if int(state.step.addressable_data(0)) + 1 == int(at):
            strike()
        return dispatch(self, state, *args)

    step.Dispatcher.__call__ = struck

sys.argv[0] = str(ROOT / "train.py")
sys.path.insert(0, str(ROOT))
os.chdir(ROOT)
runpy.run_path(sys.argv[0], run_name="__main__")
