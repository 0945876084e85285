"""Encoded tiles of all pictures, in bounded memory."""

import threading
from collections import OrderedDict
from collections.abc import Iterator, MutableMapping
from typing import Any

import jax

from gaussiansr_jax.upscaling.prepared import Tile


class FieldCache:
    """Keeps encoded tiles up to a number of bytes; those unused for longest are dropped first."""

    def __init__(self, limit: int):
        """An empty cache of `limit` bytes."""
        self.limit = limit
        self.used = 0
        self._lock = threading.Lock()
        self._fields: OrderedDict[tuple, tuple[Any, int]] = OrderedDict()

    def of(self, owner: tuple) -> "FieldsOfPicture":
        """The part of the cache that belongs to one picture and model."""
        return FieldsOfPicture(self, owner)

    def get(self, key: tuple) -> Any:
        """The field, or None."""
        with self._lock:
            if key not in self._fields:
                return None
            self._fields.move_to_end(key)
            return self._fields[key][0]

    def put(self, key: tuple, field: Any) -> None:
        """Keeps a field, even one larger than the limit, and forgets others for it."""
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(field))
        with self._lock:
            self._drop(key)
            self._fields[key] = field, size
            self.used += size
            while self.used > self.limit and len(self._fields) > 1:
                self._drop(next(iter(self._fields)))

    def drop(self, owner: tuple) -> None:
        """Forgets what belongs to a picture, `(picture,)`, or to a picture and a model."""
        with self._lock:
            for key in [key for key in self._fields if key[: len(owner)] == owner]:
                self._drop(key)

    def keys(self, owner: tuple) -> list[Tile]:
        """The tiles of one picture and model that are there."""
        with self._lock:
            return [key[-1] for key in self._fields if key[:-1] == owner]

    def _drop(self, key: tuple) -> None:
        _, size = self._fields.pop(key, (None, 0))
        self.used -= size


class FieldsOfPicture(MutableMapping):
    """What `Prepared` takes as `fields`: a part of a `FieldCache`."""

    def __init__(self, cache: FieldCache, owner: tuple):
        """A view of the cache; holds nothing itself."""
        self._cache, self._owner = cache, owner

    def __getitem__(self, tile: Tile) -> Any:
        field = self._cache.get((*self._owner, tile))
        if field is None:
            raise KeyError(tile)
        return field

    def __setitem__(self, tile: Tile, field: Any) -> None:
        self._cache.put((*self._owner, tile), field)

    def __delitem__(self, tile: Tile) -> None:
        self._cache.drop((*self._owner, tile))

    def __iter__(self) -> Iterator[Tile]:
        return iter(self._cache.keys(self._owner))

    def __len__(self) -> int:
        return len(self._cache.keys(self._owner))

    def clear(self) -> None:
        """Forgets all of them."""
        self._cache.drop(self._owner)
