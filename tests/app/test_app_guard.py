"""Other websites in the same browser cannot use the page."""

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from gaussiansr_jax.app.guard import Guard, is_loopback

OURS = {"host": "127.0.0.1"}


def asked(listening_on="127.0.0.1", allowed=(), **headers):
    routes = [Route("/", lambda _: PlainTextResponse("hello"), methods=["GET", "POST"])]
    app = Guard(Starlette(routes=routes), listening_on, allowed)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return TestClient(app).get("/", headers=headers).status_code


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:7860", "localhost:9000", "LOCALHOST", "[::1]:7860"]
)
def test_this_machine_is_let_in(host):
    assert asked(host=host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:7860",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.7",
        "[fe80::1]",
    ],
)
def test_rebound_names_are_not(host):
    assert asked(host=host) == 403


def test_other_addresses_are_let_in_where_the_page_listens_on_them():
    assert asked("0.0.0.0", host="10.0.0.7:7860") == 200
    assert asked("0.0.0.0", host="evil.example") == 403
    assert asked("0.0.0.0", ["pictures.example"], host="pictures.example") == 200


def test_requests_of_other_sites_are_refused():
    assert asked(host="localhost", origin="https://evil.example") == 403
    assert asked(host="localhost", origin="null") == 403
    assert asked(host="localhost:7860", origin="http://localhost:8888") == 403
    assert asked(host="localhost:7860", origin="http://localhost:7860") == 200
    assert asked(host="localhost", sec_fetch_site="cross-site", sec_fetch_mode="no-cors") == 403
    # A link to the page is fine.
    assert asked(host="localhost", sec_fetch_site="cross-site", sec_fetch_mode="navigate") == 200
    assert asked(host="localhost", sec_fetch_site="same-origin", sec_fetch_mode="cors") == 200


def test_so_are_their_connections(client):
    with (
        pytest.raises(WebSocketDisconnect) as refused,
        client.websocket_connect("/api/views", headers=OURS | {"origin": "https://evil.example"}),
    ):
        pass
    assert refused.value.code == 1008
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/api/views", headers={"host": "evil.example"}),
    ):
        pass
    with client.websocket_connect("/api/views", headers=OURS | {"origin": "http://127.0.0.1"}):
        pass


def test_what_is_loopback():
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "192.168.0.4", "::", "example.com"))
