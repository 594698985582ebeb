"""Features: folds over the event log, defined once, used offline, incrementally and online."""
