"""Planning: a suite becomes cells, and these become a graph of stages whose artifacts answer the cells. No torch.

Start with `bench.planning.plan`.
"""
