"""An OpenAI-compatible endpoint on loopback that answers, fails, stalls, limits the rate and talks nonsense.

It reads requests as OpenAI's does (model, messages, response_format, logprobs, max_tokens) and remembers them. What it
answers is the label (or the spans) that a rule makes of the text; a script puts faults before that. As a program it is
the endpoint of configs/paper-mini.yaml:

    python tests/doubles/chat_server.py --port 8377
"""

from __future__ import annotations

import argparse
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from listening import listening

Body = dict[str, Any]
Write = Callable[[Body], str]


@dataclass(frozen=True)
class Fault:
    """What is sent instead of an answer."""

    status: int = 500
    body: bytes | None = None
    """Null sends an error as OpenAI words it."""
    headers: dict[str, str] = field(default_factory=dict)
    stall_s: float = 0.0
    code: str | None = None
    message: str = "it is broken"


@dataclass
class ChatServer:
    """A running endpoint.

    Attributes:
        write: makes the answer's text of a request's body.
        refuses: keys of the body that it answers with 400.
        key: what it takes; another one gets 401.
        faults: sent in turn before any answer.
        requests: the bodies of all requests, and their headers.
        answered: the bodies that were answered.
        tells_usage: whether answers say how many tokens they took.
        answer_s: time an answer takes.
        most_in_flight: requests at once, at most so far.
    """

    url: str
    write: Write
    refuses: frozenset[str] = frozenset()
    key: str = "secret-of-the-tests"
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[Body, dict[str, str]]] = field(default_factory=list)
    answered: list[Body] = field(default_factory=list)
    tells_usage: bool = True
    tells_logprobs: bool = True
    answer_s: float = 0.0
    in_flight: int = 0
    most_in_flight: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_fault(self) -> Fault | None:
        return self.faults.pop(0) if self.faults else None


def tokens_of(text: str) -> list[str]:
    """Words with the blank before them, and marks: about what a vocabulary of bytes makes of English."""
    return re.findall(r"\s?\w+|\s?[^\w\s]|\s", text)


def completion(body: Body, content: str, *, usage: bool, logprobs: bool) -> Body:
    """An answer in OpenAI's form; every token of it has probability 0.9."""
    tokens = tokens_of(content)
    choice: Body = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    if body.get("logprobs") and logprobs:
        choice["logprobs"] = {"content": [{"token": token, "logprob": -0.10536} for token in tokens]}
    prompt = sum(len(tokens_of(message["content"])) for message in body["messages"])
    told = {"prompt_tokens": prompt, "completion_tokens": len(tokens), "total_tokens": prompt + len(tokens)}
    answer: Body = {"id": "chatcmpl-1", "object": "chat.completion", "model": f"{body['model']}-2024-01-01"}
    return {**answer, "choices": [choice], **({"usage": told} if usage else {})}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server: ChatServer = self.server.chat  # type: ignore[attr-defined]
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with server.lock:
            server.requests.append((body, {name.lower(): value for name, value in self.headers.items()}))
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
            fault = server.next_fault()
        try:
            self._answer(server, body, fault)
        finally:
            with server.lock:
                server.in_flight -= 1

    def _answer(self, server: ChatServer, body: Body, fault: Fault | None) -> None:
        if not self.path.endswith("/chat/completions"):
            return self._error(404, f"no {self.path} here")
        if self.headers.get("authorization") != f"Bearer {server.key}" and server.key:
            return self._error(401, f"Incorrect API key provided: {self.headers.get('authorization')}")
        if fault is not None:
            time.sleep(fault.stall_s)
            if fault.body is None:
                return self._error(fault.status, fault.message, code=fault.code, headers=fault.headers)
            return self._send(fault.status, fault.body, fault.headers)
        for key in sorted(server.refuses & body.keys()):
            return self._error(400, f"Unsupported parameter: '{key}'", param=key)
        time.sleep(server.answer_s)
        content = server.write(body)
        with server.lock:
            server.answered.append(body)
        answer = completion(body, content, usage=server.tells_usage, logprobs=server.tells_logprobs)
        self._send(200, json.dumps(answer).encode(), {})

    def _error(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        error = {"error": {"message": message, "type": "error", "code": code, "param": param}}
        self._send(status, json.dumps(error).encode(), headers or {})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        try:
            self.send_response(status)
            for name, value in {"content-type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client gave up, or was killed

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


@contextmanager
def running_chat_server(write: Write, *, port: int = 0, key: str = "secret-of-the-tests") -> Iterator[ChatServer]:
    """Run an endpoint on a free port (or the one given) while the block lasts."""
    listener = _Listener(("127.0.0.1", port), _Handler)
    with listening(listener) as url:
        server = ChatServer(f"{url}/v1", write, key=key)
        listener.chat = server  # type: ignore[attr-defined]
        yield server


# --- what the endpoint of paper-mini answers: rules that need no training ---------------------------------------------


def answer_by_likeness(body: Body) -> str:
    """The answer whose label is spelled most like the text; an example's answer where its text is more alike yet.

    With a JSON schema the answer is JSON, else lines, as the prompt's header asks. Slots are copied from an example
    that shares their words with the text.
    """
    *shown, question = [message for message in body["messages"] if message["role"] != "system"]
    text = _text_of(question["content"])
    examples = [
        (_text_of(asked["content"]), answer["content"]) for asked, answer in zip(shown[::2], shown[1::2], strict=True)
    ]
    alike, nearest = max(((likeness(text, other), answer) for other, answer in examples), default=(0.0, ""))
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    if schema is None:
        labels = _listed(body["messages"][0]["content"])
        return nearest if alike > 0.3 or not labels else max(labels, key=lambda label: likeness(text, label))
    known = json.loads(nearest) if alike > 0.3 else {}
    answer = {}
    for task, spec in schema["properties"].items():
        if "enum" in spec:
            answer[task] = known.get(task) or max(spec["enum"], key=lambda label: likeness(text, label))
        else:
            answer[task] = [span for span in known.get(task, []) if span["words"] in text][:1]
    return json.dumps(answer)


def likeness(left: str, right: str) -> float:
    """Share of the shorter one's runs of four letters that the other has too."""
    runs = [
        {
            word[i : i + 4]
            for word in re.findall(r"\w{4,}", each.lower().replace("_", " "))
            for i in range(len(word) - 3)
        }
        for each in (left, right)
    ]
    return len(runs[0] & runs[1]) / max(min(map(len, runs)), 1)


def _text_of(question: str) -> str:
    return question.removeprefix("Text: ").removesuffix("\nAnswer:")


def _listed(header: str) -> list[str]:
    found = re.search(r"these labels and nothing else: (.+)", header)
    return found.group(1).split(", ") if found else []


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8377)
    port = parser.parse_args().port
    with running_chat_server(answer_by_likeness, port=port, key="") as server:
        print(f"answering at {server.url}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
