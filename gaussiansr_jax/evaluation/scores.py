"""Scores of folders of images, in memory or in a folder that several processes fill."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gaussiansr_jax.distributed import Share
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.evaluation import protocol
from gaussiansr_jax.files import atomic_write

FACTS = "facts.json"
Scores = dict[str, float]
# Data, scale and image.
Key = tuple[str, str, str]


class ScoresInMemory:
    """Scores of this process alone."""

    share = Share()

    def __init__(self):
        self._scores: dict[Key, Scores] = {}

    def read(self) -> dict[Key, Scores]:
        """What has been measured until now, by data, scale and image."""
        return self._scores

    def add(self, data: str, scale: str, image: str, scores: Scores) -> None:
        """Keeps the scores of one image."""
        self._scores[data, scale, image] = scores


class ScoresFolder:
    """Scores in a folder, with one file of lines for each process: a line is those of one image.

    Args:
      folder: created if missing; all processes must see it.
      share: of this process.
      facts: what the scores depend on, such as the weights; the same for all that is in a folder.

    Raises:
      UserError: the folder holds other scores, or cannot be written.
    """

    def __init__(self, folder: Path, share: Share, facts: Mapping[str, Any]):
        self._folder, self.share = folder, share
        facts = json.loads(json.dumps(facts))
        try:
            if not (folder / FACTS).is_file():
                with atomic_write(folder / FACTS) as temporary:
                    temporary.write_text(json.dumps(facts, indent=1) + "\n")
            old = json.loads((folder / FACTS).read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"cannot use {folder} ({error}); name another folder") from error
        for name in {**old, **facts}:
            if old.get(name) != facts.get(name):
                raise UserError(
                    f"{folder} holds scores with {name}={old.get(name)!r}, not "
                    f"{facts.get(name)!r}; name another folder"
                )
        self._lines = folder / f"scores-{share.index}-of-{share.count}.jsonl"

    def read(self) -> dict[Key, Scores]:
        """What all processes have measured until now, by data, scale and image."""
        found = {}
        for path in sorted(self._folder.glob("scores-*.jsonl")):
            for line in path.read_text().splitlines():
                try:
                    data, scale, image, scores = json.loads(line)
                except ValueError:
                    continue  # cut off by a crash: it is measured again
                found[data, scale, image] = scores
        return found

    def add(self, data: str, scale: str, image: str, scores: Scores) -> None:
        """Appends the scores of one image.

        Raises:
          UserError: the file cannot be written.
        """
        line = json.dumps([data, scale, image, scores])
        try:
            with self._lines.open("a+b") as file:
                # After a line that a crash cut off.
                end = file.seek(0, 2)
                file.seek(max(end - 1, 0))
                start = b"" if file.read(1) in (b"", b"\n") else b"\n"
                file.write(start + line.encode() + b"\n")
        except OSError as error:
            raise UserError(f"cannot write {self._lines}: {error.strerror or error}") from error


def evaluate_share(
    store: ScoresInMemory | ScoresFolder,
    files: Mapping[str, list[Path]],
    scales: list[float],
    evaluate: Callable[[str, Path, float], Scores],
    progress: Callable = iter,
) -> dict[tuple[Path, str], list[str]]:
    """Measures what is left of this process's share; images that fail are left out.

    Args:
      store: where scores are.
      files: ground truth images by name of the data.
      scales: at which they are evaluated.
      evaluate: the scores of a file at a scale, or a `UserError`.
      progress: wraps the list of what is to be done, as tqdm does.

    Returns:
      The files that failed and why, and the scales at which they did.
    """
    done, failed = store.read(), {}
    own = [x for x in store.share.of(_wanted(files, scales)) if (x[0], x[1], x[2].name) not in done]
    for data, name, file, scale in progress(own):
        try:
            scores = evaluate(data, file, scale)
        except UserError as error:
            failed.setdefault((file, str(error)), []).append(name)
        else:
            store.add(data, name, file.name, scores)
    return failed


def merged(
    store: ScoresInMemory | ScoresFolder, files: Mapping[str, list[Path]], scales: list[float]
) -> tuple[dict, int]:
    """The results as `report.table` takes them, of all images whose scores there are.

    Returns:
      results, and how many scores are missing.
    """
    done = store.read()
    results: dict = {}
    missing = 0
    for data, name, file, _ in _wanted(files, scales):
        scores = done.get((data, name, file.name))
        if scores is None:
            missing += 1
        else:
            results.setdefault(data, {}).setdefault(name, {})[file.name] = scores
    means = {
        data: {scale: protocol.mean_scores(images) for scale, images in of_scale.items()}
        for data, of_scale in results.items()
    }
    return means, missing


def _wanted(
    files: Mapping[str, list[Path]], scales: list[float]
) -> list[tuple[str, str, Path, float]]:
    # Image by image within each scale, so that shares of few images are equally large.
    return [(d, f"{s:g}", f, s) for d, paths in files.items() for s in scales for f in paths]
