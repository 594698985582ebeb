"""The whole of Vigil once through on this machine: raw data, pipeline, gates, endpoint, live traffic."""
