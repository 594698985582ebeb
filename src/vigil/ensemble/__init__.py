"""From the members' scores to one: calibration, the learned combination, the business score beside it."""
