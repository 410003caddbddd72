"""The imports of the template process, from which worker processes are forked: torch, and the code of stages.

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
# All are ignored: the leading process, which Ctrl-C reaches as well, ends this one. A plugin may send a signal to the
# parent of its process.
for _signal in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(_signal, signal.SIG_IGN)
with contextlib.suppress(Exception):  # A worker tries again, and reports the error for its stage.
    import bench.engine.worker
    import bench.stages.compute  # noqa: F401
