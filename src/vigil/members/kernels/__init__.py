"""Compiled loops. Each works row by row in a fixed order, so that a row's result does not depend on its batch."""
