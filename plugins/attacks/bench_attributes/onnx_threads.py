"""The number of threads with which onnxruntime computes.

By default it starts one per core in each worker process. They compete, and wait busily for work: networks that take one
image at a time then need a third more processor time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


@contextlib.contextmanager
def limited_threads() -> Iterator[None]:
    """Give sessions of onnxruntime that a library opens in the body of ``with`` as many threads as torch has.

    Neither deepface nor uniface lets its user choose; both make their options with ``onnxruntime.SessionOptions``.
    """
    import onnxruntime

    original = onnxruntime.SessionOptions

    def options() -> Any:
        made = original()
        made.intra_op_num_threads = torch.get_num_threads()
        return made

    onnxruntime.SessionOptions = options
    try:
        yield
    finally:
        onnxruntime.SessionOptions = original
