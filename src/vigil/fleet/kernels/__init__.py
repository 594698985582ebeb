"""Compiled code of the fleet: arrays in, arrays out."""
