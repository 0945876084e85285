"""Processes come together first, work as one, and end together."""

import os
import signal
import socket
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import jax
from jax._src import distributed  # JAX's store of keys and values has no public name
from jax._src.clusters import ClusterEnv  # nor has what finds the coordinator

from gaussiansr_jax.distributed import group as groups
from gaussiansr_jax.distributed.group import Group
from gaussiansr_jax.distributed.native import WAIT, say_aborts
from gaussiansr_jax.distributed.place import Place
from gaussiansr_jax.errors import UserError

_KEY = "gaussiansr-jax/process-0"
_current = Group()


def current() -> Group:
    """The group of this process."""
    return _current


@contextmanager
def joined(place: Place | None, timeout: float = 300.0) -> Iterator[Group]:
    """Starts `jax.distributed`, before anything else of JAX, and ends with all processes.

    If one process fails inside, all end: with its sentence if it is a `UserError`.

    Args:
      place: of this process; None if it is alone.
      timeout: seconds in which all processes must have started.

    Raises:
      UserError: wrong or missing processes.
    """
    global _current
    if place is None:
        yield Group()
        return
    group, undo = Group(), say_aborts(Group().fail)
    try:
        if _initialize(place, timeout):
            group = _current = _connected(timeout)
        yield group
        _leave(group)
    except SystemExit as stop:
        if stop.code:
            group.fail(f"ended with status {stop.code}")
        _leave(group)
        raise
    except UserError as error:
        group.fail(str(error))
    except KeyboardInterrupt:
        group.fail("interrupted", 130)
    except BaseException as error:
        if isinstance(error, jax.errors.JaxRuntimeError):
            # Mostly a collective that lost its other end; the listener says so meanwhile.
            time.sleep(WAIT)
        traceback.print_exc()
        first = (str(error).strip().splitlines() or [""])[0]
        group.fail(f"{type(error).__name__}: {first}")
    finally:
        undo()


def _leave(group: Group) -> None:
    global _current
    group.leave()
    _current = Group()
    jax.distributed.shutdown()


def _initialize(place: Place, timeout: float) -> bool:
    """Whether there are several processes."""
    # Orbax asks JAX's service for notices, so it must run; but it takes SIGTERM away.
    on_term = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL
    _set("jax_cpu_collectives_implementation", "gloo")
    # Under a launcher JAX gives each process one device. That is right for a process per device;
    # a process that is alone on its host takes all.
    devices = [] if place.on_host == 1 or place.coordinator else None
    if place.index == 0:
        _check_port(place, timeout)
    try:
        jax.distributed.initialize(
            place.coordinator,
            place.count,
            place.index,
            local_device_ids=devices,
            initialization_timeout=round(timeout),
            heartbeat_timeout_seconds=120,  # ours is quicker
            shutdown_timeout_seconds=60,
        )
    except ValueError as error:
        if place.count is None:
            return False  # JAX knows of no others
        raise UserError(f"the processes cannot start ({error})") from error
    except RuntimeError as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise UserError(f"the {place.count or ''} processes cannot start ({first})") from error
    signal.signal(signal.SIGTERM, on_term)
    return True


def _check_port(place: Place, timeout: float) -> None:
    """Checks that process 0 can listen: otherwise JAX crashes, or shares the port with a stranger.

    Raises:
      UserError: it cannot.
    """
    address = place.coordinator
    if address is None:
        detect = ClusterEnv.auto_detect_unset_distributed_params
        address = detect(None, place.count, 0, [], None, round(timeout))[0]
    port, both = int(address.rsplit(":", 1)[1]), socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        socket.create_server(("", port), family=family, dualstack_ipv6=both).close()
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None)
        reason = os.strerror(number) if number else error
        raise UserError(
            f"process 0 cannot listen at the coordinator's port {port} ({reason}); end what uses "
            "it, or choose another port (--coordinator, or JAX_COORDINATOR_PORT for launchers)"
        ) from error


def _connected(timeout: float) -> Group:
    state = distributed.global_state
    index, count = state.process_id, state.num_processes
    silence = float(os.environ.get("GAUSSIANSR_JAX_PEER_TIMEOUT", 30))
    if index == 0:
        listener, key = groups.listen(count)
        state.client.key_value_set(_KEY, f"{listener.address[1]} {key.hex()}")
        links, names = groups.accept(listener, count, timeout)
    else:
        port, key = state.client.blocking_key_value_get(_KEY, round(timeout * 1000)).split()
        host = state.coordinator_address.rsplit(":", 1)[0].strip("[]")
        links = {0: groups.connect((host, int(port)), bytes.fromhex(key), index, count)}
        names = {0: f"process 0 on {host}"}
    return Group(index, count, links, names, silence)


def _set(name: str, value: object) -> None:
    with suppress(AttributeError):  # not an option of every version of JAX
        jax.config.update(name, value)
