"""The steps of training and batch scoring: functions on folders, each of which a pipeline runs as a task.

Every folder that a step writes is sealed, with the hashes of what it was made from. The same inputs give the same
bytes, apart from what is measured by a clock: reports of ingestion, latency and cost.
"""
