"""What a model is worth, where its thresholds lie, and whether it may go on: on arrays, for any model."""
