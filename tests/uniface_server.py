"""A server on the loopback interface in the place of those from which uniface downloads, with tiny files under its
names, for the tests of `bench_uniface` and of the attack that uses its files."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import onnx
from bench_uniface import FETCHABLE
from onnx import TensorProto, helper, numpy_helper

Answer = Callable[[BaseHTTPRequestHandler], None]


def attribute_network(side: int, widths: Mapping[str, int], seed: int) -> bytes:
    """Return an ONNX network of pictures ``(n, 3, side, side)``: means of tiles, and one matrix for each output."""
    kernel, rng = side // 4, np.random.default_rng(seed)
    tiles = helper.make_node("AveragePool", ["x"], ["tiles"], kernel_shape=[kernel] * 2, strides=[kernel] * 2)
    nodes, matrices = [tiles, helper.make_node("Flatten", ["tiles"], ["flat"])], []
    for name, width in widths.items():
        matrix = rng.normal(0, 0.01 if side == 96 else 1, (48, width)).astype(np.float32) / 7
        matrices.append(numpy_helper.from_array(matrix, f"m_{name}"))
        nodes.append(helper.make_node("MatMul", ["flat", f"m_{name}"], [name]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, side, side])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width]) for name, width in widths.items()],
        matrices,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def face_network(seed: int) -> bytes:
    """Return an ONNX network of faces ``(n, 3, 112, 112)`` with two convolutions and embeddings of 32 numbers."""
    rng = np.random.default_rng(seed)
    shapes = {"w1": (8, 3, 4, 4), "w2": (16, 8, 4, 4), "w3": (16 * 49, 32)}
    tensors = [
        numpy_helper.from_array((rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], "stem", strides=[4, 4], kernel_shape=[4, 4]),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "w2"], ["c"], "body", strides=[4, 4], kernel_shape=[4, 4]),
        helper.make_node("Flatten", ["c"], ["d"], "flat"),
        helper.make_node("MatMul", ["d", "w3"], ["e"], "head"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 112, 112])],
        [helper.make_tensor_value_info("e", TensorProto.FLOAT, ["n", 32])],
        tensors,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def sends(content: bytes) -> Answer:
    """Answer with a whole file."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    return answer


def breaks_off(content: bytes) -> Answer:
    """Announce a whole file, send half of it, and close the connection."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[: len(content) // 2])
        request.close_connection = True

    return answer


def redirects(target: str) -> Answer:
    """Answer with a redirection."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", target)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def fails(code: int) -> Answer:
    """Answer with a status code and no file."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


class Mirror:
    """What the server answers by path, and which paths were asked for. ``contents`` are the true files by name."""

    def __init__(self, url: str, contents: Mapping[str, bytes]) -> None:
        self.url = url
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.contents = contents
        for name, content in contents.items():
            self.answer(name, sends(content))

    def answer(self, name: str, answer: Answer, places: tuple[str, ...] = ("releases", "mirror")) -> None:
        """Set the answer for a file, by default at both of its addresses."""
        for place in places:
            self.answers[f"/{place}/{FETCHABLE[name].file}"] = answer

    def sha256(self, name: str) -> str:
        """Return the digest of the true file."""
        return hashlib.sha256(self.contents[name]).hexdigest()


@contextlib.contextmanager
def serving(contents: Mapping[str, bytes]) -> Iterator[Mirror]:
    """Serve files, by name, until the context ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            mirror.asked.append(self.path)
            with contextlib.suppress(ConnectionError):
                mirror.answers.get(self.path, fails(404))(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    mirror = Mirror(f"http://127.0.0.1:{server.server_port}", contents)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield mirror
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
