"""Rollouts in KServe: the split of one InferenceService, records and acts in ConfigMaps, one controller by a Lease."""
