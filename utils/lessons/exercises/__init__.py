"""Checks of the notebooks' exercises, one module per notebook.

Each check runs the learner's function on small cases and names the likely mistake. It returns one sentence that starts with
"Right", "Not yet" or "Not written yet"; it never raises. The solution and the likely mistakes are defined next to each check.
Tests try them all: for each mistake the check must return the sentence of this mistake.
"""
