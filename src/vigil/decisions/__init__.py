"""From a score to an act: allow, alert or hold, how severe, why, and a record that can be replayed."""
