"""A model for every site: thousands of series as one flat array, scored reading by reading."""
