"""The gates that a candidate has to pass: configuration, evidence, one rule each, and the decision."""
