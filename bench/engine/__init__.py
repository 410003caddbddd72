"""Runs the stages of a plan: on this machine or on a cluster, in processes that can be killed."""
