"""Members: the models whose scores the ensemble combines. Scoring needs numpy and numba only; fitting is apart."""
