"""What one can do with a run: start it, replay it, score it again, watch it, explain it, remove it."""
