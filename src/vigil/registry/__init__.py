"""The sealed bundle, where it is kept, and which version of a model is in which stage and by whose word."""
