"""From rows to numbers: the scores of a run become measurements with intervals, and these become tables. No torch.

`bench.analysis.measures` computes a metric from rows; `bench.analysis.tables` has one module per table of the report.
"""
