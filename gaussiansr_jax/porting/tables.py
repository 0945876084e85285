"""Which official tensor is which of our parameters, and how its layout differs.

A row says: the official name, our names, and the transform between them. A `{}` stands for a
number, the same in every name of the row, and `{blocks}` for the number of blocks. A row with two
of our names splits one tensor into two; a row with none is a tensor that the official code stores
and never reads.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

Arrays = tuple[np.ndarray, ...]


class Transform(NamedTuple):
    """`ours`: their array to our arrays; `theirs`: back."""

    ours: Callable[[np.ndarray], Arrays]
    theirs: Callable[..., np.ndarray]


class Row(NamedTuple):
    """One line of a table."""

    theirs: str
    ours: tuple[str, ...]
    transform: Transform


def _unfolded_to_ours(weight: np.ndarray) -> Arrays:
    """LIIF's first layer on (features unfolded 3×3, rel_y, rel_x, cell_y, cell_x)."""
    unfolded, position = weight[:, :-4], weight[:, -4:]
    # Input 9·c + 3·ky + kx of the layer is channel c of the neighbor (ky, kx).
    kernel = unfolded.reshape(weight.shape[0], -1, 3, 3)
    return kernel.transpose(2, 3, 1, 0), position.T


def _unfolded_to_theirs(kernel: np.ndarray, position: np.ndarray) -> np.ndarray:
    unfolded = kernel.transpose(3, 2, 0, 1).reshape(kernel.shape[3], -1)
    return np.concatenate([unfolded, position.T], axis=1)


def _unused(value: np.ndarray) -> Transform:
    return Transform(lambda _: (), lambda: value)


SAME = Transform(lambda x: (x,), lambda x: x)
CONV = Transform(lambda x: (x.transpose(2, 3, 1, 0),), lambda x: x.transpose(3, 2, 0, 1))
DENSE = Transform(lambda x: (x.T,), lambda x: x.T)
COLUMN = Transform(lambda x: (x[:, 0],), lambda x: x[:, None])
UNFOLDED = Transform(_unfolded_to_ours, _unfolded_to_theirs)

_EYE = np.eye(3, dtype=np.float32)[:, :, None, None]
_MEAN = np.array([0.4488, 0.4371, 0.4040], np.float32)


def _layer(theirs: str, ours: str, transform: Transform) -> tuple[Row, Row]:
    return (
        Row(f"{theirs}.weight", (f"{ours}/kernel",), transform),
        Row(f"{theirs}.bias", (f"{ours}/bias",), SAME),
    )


EDSR = (
    *_layer("head.0", "conv_in", CONV),
    *_layer("body.{}.body.0", "block_{}/conv_0", CONV),
    *_layer("body.{}.body.2", "block_{}/conv_1", CONV),
    *_layer("body.{blocks}", "conv_out", CONV),
    Row("sub_mean.weight", (), _unused(_EYE)),
    Row("sub_mean.bias", (), _unused(-_MEAN)),
    Row("add_mean.weight", (), _unused(_EYE)),
    Row("add_mean.bias", (), _unused(_MEAN)),
)

RDN = (
    *_layer("SFENet1", "conv_in", CONV),
    *_layer("SFENet2", "conv_in2", CONV),
    *_layer("RDBs.{}.convs.{}.conv.0", "block_{}/dense_{}", CONV),
    *_layer("RDBs.{}.LFF", "block_{}/fuse", CONV),
    *_layer("GFF.0", "fuse_0", CONV),
    *_layer("GFF.1", "fuse_1", CONV),
)

GAUSSIANSR_HEAD = (
    *_layer("encoder.segmentation_head.0", "head/classifier", CONV),
    # The official code's "x" is the axis of the rows.
    Row("sigma_x", ("head/sigma_y",), SAME),
    Row("sigma_y", ("head/sigma_x",), SAME),
    Row("rho", ("head/rho",), COLUMN),
    Row("opacity", ("head/opacity",), COLUMN),
    *_layer("coef", "head/coef", CONV),
    *_layer("freq", "head/freq", CONV),
    Row("phase.weight", ("head/phase/kernel",), DENSE),
    *(
        row
        for i in range(5)
        for row in _layer(f"dec.layers.{2 * i}", f"head/decoder/dense_{i}", DENSE)
    ),
)

LIIF_HEAD = (
    Row("imnet.layers.0.weight", ("head/unfold/kernel", "head/position/kernel"), UNFOLDED),
    Row("imnet.layers.0.bias", ("head/unfold/bias",), SAME),
    *(
        row
        for i in range(1, 5)
        for row in _layer(f"imnet.layers.{2 * i}", f"head/decoder/dense_{i - 1}", DENSE)
    ),
)


def nested(rows: tuple[Row, ...], theirs: str, ours: str) -> tuple[Row, ...]:
    """The rows with a prefix before each name."""
    return tuple(
        Row(theirs + row.theirs, tuple(ours + name for name in row.ours), row.transform)
        for row in rows
    )


def expand(rows: tuple[Row, ...], names: set[str]) -> Iterator[Row]:
    """The rows with numbers in place of the braces, one for each of the parameters that we have.

    Args:
      rows: a table.
      names: our parameters' names, joined by "/".
    """
    blocks = len({name.split("/")[1] for name in names if name.startswith("encoder/block_")})
    for row in rows:
        if not row.ours or "{}" not in row.ours[0]:
            yield row._replace(theirs=row.theirs.format(blocks=blocks))
            continue
        pattern = re.compile(re.escape(row.ours[0]).replace(r"\{\}", r"(\d+)"))
        for name in sorted(names):
            if match := pattern.fullmatch(name):
                ours = tuple(our.format(*match.groups()) for our in row.ours)
                yield row._replace(theirs=row.theirs.format(*match.groups()), ours=ours)
