"""Scores of a large collection, in a folder that several processes fill and a restart continues."""

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


class ScoresFolder:
    """A folder with one file of lines for each process: a line is the scores of one image.

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

    def read(self) -> dict[tuple[str, str, str], Scores]:
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
    folder: ScoresFolder,
    files: Mapping[str, list[Path]],
    scales: list[float],
    evaluate: Callable[[str, Path, float], Scores],
    progress: Callable = iter,
) -> tuple[dict, int]:
    """Measures what is left of this process's share, then merges the scores of all.

    Args:
      folder: where scores are.
      files: ground truth images by name of the data.
      scales: at which they are evaluated.
      evaluate: the scores of a file at a scale.
      progress: wraps the list of what is to be done, such as tqdm.

    Returns:
      the results as `report.table` takes them, of all images whose scores are there; and how many
      are missing, which other processes have to measure.

    Raises:
      UserError: at the end, if files of this share cannot be evaluated.
    """
    # Scales of one image lie apart, so that shares of few images are equal, too.
    wanted = [(d, f"{s:g}", f, s) for d, paths in files.items() for s in scales for f in paths]
    done, failed = folder.read(), []
    own = [x for x in folder.share.of(wanted) if (x[0], x[1], x[2].name) not in done]
    for data, name, file, scale in progress(own):
        try:
            folder.add(data, name, file.name, evaluate(data, file, scale))
        except UserError as error:
            failed.append(f"{file.name} x{name} ({error})")
    if failed:
        more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
        raise UserError(
            f"{len(failed)} of {len(own)} could not be evaluated: {', '.join(failed[:5])}{more}; "
            "mend or remove the files, and run the same command again"
        )
    done = folder.read()
    results: dict = {}
    missing = 0
    for data, name, file, _ in wanted:
        scores = done.get((data, name, file.name))
        if scores is None:
            missing += 1
        else:
            results.setdefault(data, {}).setdefault(name, {})[file.name] = scores
    merged = {
        data: {scale: protocol.mean_scores(images) for scale, images in of_scale.items()}
        for data, of_scale in results.items()
    }
    return merged, missing
