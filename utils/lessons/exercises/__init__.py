"""Checks of the notebooks' exercises, one module a notebook.

Each check runs the learner's function on small cases (or looks at the answer) and names the likely mistake. It returns one
sentence that starts with "Right", "Not yet" or "Not written yet"; it never raises. Every check has its right answer and
its mistakes beside it, and tests try them all: what a mistake's function does must be named by its own sentence.
"""
