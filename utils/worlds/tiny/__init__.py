"""The tiny world: a small readable English world whose truth is known. Everything made from it is simulated.

Other rooms reach it by its name (`utils.worlds.registry.world_of`).
"""

from utils.worlds.tiny.world import TinyWorld

__all__ = ["TinyWorld"]
