"""The web pages on the store: labelers write, rate and rank; the lead sees agreement, decides and exports.

Needs the extra `[labeling]`. `text` and `catalogue` need nothing more than the project does; the notebook uses them too.
"""
