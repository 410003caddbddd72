"""The report of a run: tables recomputed from per-sample rows, as a page, as exports, and as lines for a terminal."""
