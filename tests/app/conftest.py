"""The page with a model that takes milliseconds; without its packages these tests are left out."""

import pytest
import tiny_model

pytest.importorskip("starlette", reason="the page's packages are missing: pip install '.[app]'")
pytest.importorskip("httpx2", reason="httpx2 is missing: pip install '.[dev]'")
from starlette.testclient import TestClient

from gaussiansr_jax.app.server import build
from gaussiansr_jax.app.settings import Settings

ADDRESS = "http://127.0.0.1"


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A model of the paper's kind."""
    return str(tiny_model.save(tmp_path_factory.mktemp("weights") / "tiny.safetensors"))


@pytest.fixture
def page(weights):
    """Starts the page with some settings; it stops after the test."""
    running = []

    def start(**settings):
        client = TestClient(build(Settings(weights=(weights,), **settings)), base_url=ADDRESS)
        running.append(client)
        client.__enter__()
        return client

    yield start
    for client in running:
        client.__exit__(None, None, None)


@pytest.fixture
def client(page):
    return page()
