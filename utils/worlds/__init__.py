"""Places whose truth is known: prompts, answers, text and a gold score. Everything made from them is simulated.

The tiny world is the one that ships.
"""
