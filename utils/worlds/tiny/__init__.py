"""The tiny world: a small readable English world whose truth is known. Everything made from it is simulated."""

from utils.world.answers import IDK, answer
from utils.world.corpus import corpus, document
from utils.world.prompts import make_prompts
from utils.world.rubric import GOLD_MAX, GOLD_TIE, GOLD_WEIGHTS, PARTS, Scores, gold, misconception, score
from utils.world.tables import World, partition

__all__ = [
    "GOLD_MAX", "GOLD_TIE", "GOLD_WEIGHTS", "IDK", "PARTS", "Scores", "World", "answer", "corpus", "document", "gold",
    "make_prompts", "misconception", "partition", "score",
]  # fmt: skip
