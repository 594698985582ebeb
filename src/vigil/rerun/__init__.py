"""From an event to a run of the retraining pipeline: once per event, one at a time, and with its end on record."""
