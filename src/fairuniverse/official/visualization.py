"""Pictures of the public package: in a worker nobody looks, so every function does nothing."""

from __future__ import annotations

from collections.abc import Callable


def __getattr__(name: str) -> Callable[..., None]:
    if name.startswith("__"):
        raise AttributeError(name)
    return _draw_nothing


def _draw_nothing(*_: object, **__: object) -> None:
    return None
