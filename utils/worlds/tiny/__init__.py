"""The tiny world: a small readable English world whose truth is known. Everything made from it is simulated."""

from utils.worlds.tiny.answers import IDK, answer
from utils.worlds.tiny.corpus import corpus, document
from utils.worlds.tiny.prompts import make_prompts
from utils.worlds.tiny.rubric import GOLD_MAX, GOLD_TIE, GOLD_WEIGHTS, PARTS, Scores, gold, misconception, score
from utils.worlds.tiny.tables import World, partition

__all__ = [
    "GOLD_MAX", "GOLD_TIE", "GOLD_WEIGHTS", "IDK", "PARTS", "Scores", "World", "answer", "corpus", "document", "gold",
    "make_prompts", "misconception", "partition", "score",
]  # fmt: skip
