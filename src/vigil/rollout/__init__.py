"""Moves traffic to a new version step by step, on evidence; takes it back, and survives its own death while it does.

One pure function decides: `machine.tick(spec, status, seen, now)` reads what is wanted, what was decided so far
and what is observed, and returns the next status with the intents to execute. The status is kept before an intent is
executed, and an intent is executed again until it is observed to be true: a controller that is killed anywhere goes on
where it was. Simulations call `tick` with observations of their own; `controller` observes and executes for real.
"""
