"""What tests do with the page over HTTP."""

import io
import time

import numpy as np
import tiny_model
from PIL import Image


def file_bytes(image, kind="png", **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def upload(client, content, name="photo.png"):
    return client.post("/api/pictures", content=content, headers={"X-File-Name": name})


def opened(client, image=None, **options):
    image = tiny_model.photo(24, 40) if image is None else image
    answer = upload(client, file_bytes(image, **options))
    assert answer.status_code == 201, answer.text
    return answer.json()


def finished(client, wish, seconds=60):
    """The job once it is over."""
    answer = client.post("/api/jobs", json={"client": "me", **wish})
    assert answer.status_code == 201, answer.text
    return over(client, answer.json()["key"], seconds)


def over(client, key, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        job = client.get(f"/api/jobs/{key}").json()
        if job["state"] not in ("waiting", "working", "writing"):
            return job
        time.sleep(0.02)
    raise AssertionError(f"the enlargement is not over: {job}")


def decoded(content):
    return np.asarray(Image.open(io.BytesIO(content)))
