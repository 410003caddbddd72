"""Full-size networks, public checkpoints, ONNX files, and any torch module that a suite names.

Nothing here imports torch: a suite is planned from these declarations alone.
"""
