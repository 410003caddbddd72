"""What the numbers are: rows of a run become measurements with intervals, and these become tables. No torch."""
