"""Listening on a free port, and telling people where."""

import errno
import logging
import socket
from contextlib import suppress

import uvicorn

from gaussiansr_jax.app.guard import is_loopback
from gaussiansr_jax.app.server import build
from gaussiansr_jax.app.settings import Settings
from gaussiansr_jax.errors import UserError

_PORTS_TRIED = 20
_LONGEST_MESSAGE = 2**16


def listen(host: str, port: int) -> socket.socket:
    """A socket on the first free port from `port` on; any free one if `port` is 0.

    Raises:
      UserError: there is none, or the machine has no such address.
    """
    last = min(port + _PORTS_TRIED, 2**16) if port else 1
    for candidate in range(port, last):
        try:
            family, kind, _, _, address = socket.getaddrinfo(
                host, candidate, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = socket.socket(family, kind)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(address)
                listener.listen()
            except OSError:
                listener.close()
                raise
            return listener
        except PermissionError as error:
            raise UserError(f"port {candidate} may not be used; pass another --port") from error
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                reason = error.strerror or str(error)
                raise UserError(f"cannot listen on {host}: {reason}; check --host") from error
    raise UserError(f"the ports {port} to {last - 1} are in use; pass another --port")


def serve(settings: Settings) -> None:
    """Serves the page until it is interrupted; prints its address.

    Raises:
      UserError: it cannot listen there.
    """
    listener = listen(settings.host, settings.port)
    port = listener.getsockname()[1]
    shown = settings.host if settings.host not in ("0.0.0.0", "::") else socket.gethostname()
    shown = f"[{shown}]" if ":" in shown else shown
    config = uvicorn.Config(
        build(settings),
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        # Compressing pixels would not make them smaller, and takes longer than sending them.
        ws_per_message_deflate=False,
        ws_max_size=_LONGEST_MESSAGE,
        timeout_graceful_shutdown=2,
    )
    print(f"open http://{shown}:{port} in a browser; stop with Ctrl-C", flush=True)
    if not is_loopback(settings.host):
        print("everybody who reaches this address can use the page", flush=True)
    with listener, suppress(KeyboardInterrupt):  # the usual end
        uvicorn.Server(config).run(sockets=[listener])
