"""Engines run the stages of a plan on this machine or on a Ray cluster, in worker processes that can be killed.

Start with `bench.engine.interface`; `bench.engine.scheduler` decides the order of the stages.
"""
