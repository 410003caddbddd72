"""Linear maps that are learnt from pairs: ridge regression, and pictures from maps of numbers.

Attacks on representations and the recognisers of defenses that send them begin with one (`bench_linear.regression`,
`bench_linear.pixels`).
"""
