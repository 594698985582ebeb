"""Anomalies in one stream of unknown frequency and shape, value by value, without labels and without tuning."""
