"""Weights from and to the Hugging Face hub, by the library huggingface_hub (the extra `[hub]`).

The library keeps what it downloads in its cache, uses the token of a login, and reads
`HF_ENDPOINT`, `HF_HUB_OFFLINE` and `HF_HOME`. Only weights are taken from the hub, never code.
"""

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from gaussiansr_jax import weights
from gaussiansr_jax.errors import UserError, needs_extra

PREFIX = "hf:"
FILE = "model.safetensors"
ENDINGS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
_NAME = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(/(?P<file>[^@]+))?(@(?P<revision>.+))?")


class Address(NamedTuple):
    """A file on the hub.

    Attributes:
      repo: "owner/name".
      file: path within it; None: `model.safetensors`, or the only weights file there is.
      revision: a branch, a tag or a commit; None is the default branch.
    """

    repo: str
    file: str | None = None
    revision: str | None = None


def parse(name: str) -> Address:
    """The address that `hf:owner/name[/file][@revision]` stands for.

    Raises:
      UserError: it is not of that form.

    Examples:
      >>> parse("hf:owner/name/x4/best.safetensors@v1.0")
      Address(repo='owner/name', file='x4/best.safetensors', revision='v1.0')
    """
    match = _NAME.fullmatch(name)
    if not match:
        raise UserError(f"{name}: models on the hub are named hf:owner/name[/file][@revision]")
    return Address(match["repo"], match["file"], match["revision"])


def download(name: str) -> tuple[Path, dict[str, str]]:
    """Downloads a weights file, or finds it in the library's cache.

    Args:
      name: `hf:owner/name[/file][@revision]`.

    Returns:
      The file, and where it is from: "repo", "file" and "revision", the commit. With this commit
      after the `@`, the same file is loaded for good.

    Raises:
      UserError: the library is missing, there is no such repository, revision or file, or the hub
        cannot be reached and the cache does not have it.
    """
    address, hub = parse(name), _library()
    with _explained(name, address):
        file = address.file or FILE
        try:
            path = hub.hf_hub_download(address.repo, file, revision=address.revision)
        except hub.errors.LocalEntryNotFoundError:
            raise
        except hub.errors.EntryNotFoundError as error:
            file = _only_weights(hub, name, address, error)
            path = hub.hf_hub_download(address.repo, file, revision=address.revision)
    # The cache's layout is documented: models--owner--name/snapshots/COMMIT/FILE.
    commit = Path(path).parts[-len(Path(file).parts) - 1]
    return Path(path), {"repo": address.repo, "file": file, "revision": commit}


def push(
    loaded: weights.Loaded,
    repo: str,
    *,
    dtype: str = "float32",
    private: bool = False,
    license: str | None = None,
    message: str | None = None,
) -> str:
    """Uploads weights and, if the repository has none yet, a model card.

    Args:
      loaded: params, config and facts.
      repo: "owner/name"; created if missing.
      dtype: of the numbers in the file, as in `weights.save`.
      private: whether a new repository is private.
      license: the hub's identifier of the weights' licence, such as "cc-by-4.0".
      message: of the commit.

    Returns:
      The name to load exactly these weights by: `hf:owner/name@commit`.

    Raises:
      UserError: the library is missing, the user is not logged in, or the hub refuses.
    """
    name = f"{PREFIX}{repo}"
    address, hub = parse(name), _library()
    if address.file or address.revision:
        raise UserError(f"{repo}: name the repository to push to as owner/name")
    params, config, facts = loaded
    with tempfile.TemporaryDirectory() as folder, _explained(name, address):
        file = Path(folder) / FILE
        weights.save(file, params, config, facts, dtype)
        api = hub.HfApi()
        api.create_repo(repo, private=private, exist_ok=True)
        added = [hub.CommitOperationAdd(FILE, file)]
        if not api.file_exists(repo, "README.md"):
            card = model_card(repo, config, facts, license).encode()
            added.append(hub.CommitOperationAdd("README.md", card))
        message = message or f"{config['head']['name']} on {config['encoder']['name']}"
        commit = api.create_commit(repo, added, commit_message=message)
    return f"{name}@{commit.oid}"


def model_card(repo: str, config: dict, facts: dict, license: str | None = None) -> str:
    """The text of a repository's README.md: metadata for the hub, then how to use the model."""
    data = _library().ModelCardData(
        library_name="gaussiansr-jax",
        license=license,
        pipeline_tag="image-to-image",
        tags=["super-resolution", "arbitrary-scale-super-resolution", "jax", "flax"],
    )
    about = facts.get("about") or "Super-resolution at any scale."
    return f"""---
{data.to_yaml()}
---

# {repo.partition("/")[2]}

{about}

A model of [GaussianSR in JAX](https://arxiv.org/abs/2407.18046): the head
`{config["head"]["name"]}` on the encoder `{config["encoder"]["name"]}`. It enlarges pictures by any
factor from 1 to 30.

```python
import gaussiansr_jax as gsr

upscaler = gsr.load("hf:{repo}")
big = upscaler.upscale(image, scale=3.7)  # [height, width, 3]
```

```
python -m gaussiansr_jax upscale photo.png --output big.png --scale 4 --weights hf:{repo}
```

Both need `pip install 'gaussiansr-jax[hub]'`.

## Config

```json
{json.dumps(config, indent=1)}
```

## Training

```json
{json.dumps(facts, indent=1)}
```
"""


def _library() -> Any:
    with needs_extra("the Hugging Face hub", "hub"):
        import huggingface_hub
        import huggingface_hub.errors
    return huggingface_hub


def _only_weights(hub: Any, name: str, address: Address, error: Exception) -> str:
    """The one weights file of a repository without `model.safetensors`."""
    files = hub.HfApi().list_repo_files(address.repo, revision=address.revision)
    found = [file for file in files if file.endswith(ENDINGS)]
    if address.file is None and len(found) == 1:
        return found[0]
    wanted = address.file or FILE
    listed = ", ".join(found[:8]) or "no weights at all"
    raise UserError(
        f"{name}: no file {wanted} there; it has {listed}. Name one: {PREFIX}{address.repo}/FILE"
    ) from error


@contextmanager
def _explained(name: str, address: Address) -> Iterator[None]:
    """Turns the library's errors into sentences."""
    errors = _library().errors
    try:
        yield
    except errors.LocalEntryNotFoundError as error:
        raise UserError(
            f"{name}: not in the local cache, and the hub cannot be asked (HF_HUB_OFFLINE is set, "
            "or there is no connection); download it once while connected"
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise UserError(f"{name}: HF_HUB_OFFLINE is set; unset it to reach the hub") from error
    except errors.GatedRepoError as error:
        raise UserError(
            f"{name}: its owner grants access on request; ask on its page, then `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{name}: {address.repo} has no revision {address.revision}") from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"{name}: the hub has no such repository, or it is private; check the name, or "
            "log in with `hf auth login`"
        ) from error
    except errors.LocalTokenNotFoundError as error:
        raise UserError(f"{name}: log in first, with `hf auth login`") from error
    except errors.HFValidationError as error:
        raise UserError(f"{name}: {error}") from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        way_out = "log in with `hf auth login`" if status in (401, 403) else "try again later"
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{name}: the hub refused ({reason}); {way_out}") from error
    # Its bases are the errors of the library's HTTP client, which differs between versions.
    except (OSError, *errors.HfHubHTTPError.__bases__) as error:
        raise UserError(
            f"{name}: the hub cannot be reached ({error}); try again when there is a connection"
        ) from error
