"""What stays out of the training of the members that learn what is normal, and the list of it."""
