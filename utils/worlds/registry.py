"""Worlds by name. A world is loaded at its first use."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from utils.config import Config
from utils.core.errors import UserError
from utils.worlds.protocol import World

NO_WORLD = "none"
WORLDS: dict[str, Callable[[], World]] = {
    "tiny": lambda: importlib.import_module("utils.worlds.tiny").TinyWorld(),
    "reports": lambda: importlib.import_module("utils.worlds.reports").ReportsWorld(),
}
_loaded: dict[str, World] = {}


def register(name: str, make: Callable[[], World]) -> None:
    """Add a world. make: called once, when the world is first used. Raises ValueError if the name is taken."""
    if name in (NO_WORLD, *WORLDS):
        raise ValueError(f'there is a world "{name}" already')
    WORLDS[name] = make


def world_names() -> tuple[str, ...]:
    """Names of all worlds, without "none"."""
    return tuple(WORLDS)


def world_of(source: Config | str) -> World | None:
    """The world that settings name (or the one of that name); None for "none": all data is the user's own.

    Raises UserError if there is no such world.
    """
    name = source if isinstance(source, str) else source.world
    if name == NO_WORLD:
        return None
    if name not in WORLDS:
        raise UserError(f'The setting "world": "{name}" is unknown; use {" or ".join((NO_WORLD, *WORLDS))}.')
    if name not in _loaded:
        _loaded[name] = WORLDS[name]()
    return _loaded[name]


def known_world(source: Config | str) -> World:
    """`world_of` where nothing works without a world. Raises UserError for "none" too."""
    world = world_of(source)
    if world is None:
        raise UserError(
            f'This needs a world with known facts, but the setting "world" is "{NO_WORLD}"; use {" or ".join(WORLDS)}.'
        )
    return world
