"""Evaluation (sec. 3.6, 4): statistics, win rates, gold scores, alignment tax, best-of-n."""
