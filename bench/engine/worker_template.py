"""What the process holds from which worker processes are forked: torch, and the code that computes stages.

It is imported by `multiprocessing.forkserver`, once per run and on Linux only. Without it every worker, and every
replacement of one that died, would spend seconds on importing torch and some hundred megabytes on a copy of its own.
The process runs no plugin, computes nothing, and ends with the process that leads the run.
"""

import contextlib
import os
import signal

_nothing = os.open(os.devnull, os.O_RDWR)
for _number in (1, 2):  # A warning that an import prints belongs to no stage. A worker opens a log of its own.
    os.dup2(_nothing, _number)
# Signals for the run reach the leading process, which ends this one; a plugin could also send them to its parent.
for _signal in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(_signal, signal.SIG_IGN)
with contextlib.suppress(Exception):  # A worker that cannot import them either reports the error for its stage.
    import bench.engine.worker
    import bench.stages.compute  # noqa: F401
