"""What a stage computes. Imported by workers only: it needs torch."""
