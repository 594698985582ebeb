"""The predictor of site models: one process for one shard, or for all of a fleet with a few in memory."""
