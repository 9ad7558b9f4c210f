"""Answering on loopback in a thread of the tests' process: for the doubles that are HTTP servers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer


@contextmanager
def listening(listener: ThreadingHTTPServer) -> Iterator[str]:
    """Let a server answer while the block lasts; its address, `http://127.0.0.1:<port>`."""
    with listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.server_port}"
        finally:
            listener.shutdown()
            thread.join()
