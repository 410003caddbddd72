"""Readers of the file formats in which face data sets are distributed."""
