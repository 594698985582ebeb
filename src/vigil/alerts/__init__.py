"""Incidents, and alerts that reach the one who can act."""
