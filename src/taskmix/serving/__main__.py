"""`python -m taskmix.serving SYSTEM --name NAME --port PORT`: the server as containers and the smoke test start it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading

from taskmix.errors import TaskmixError
from taskmix.serving.batching import Bounds
from taskmix.serving.logs import error_line
from taskmix.serving.predictor import Limits


def main() -> int:
    """Serve until told to stop.

    Returns:
        0 after a graceful stop, 2 if the server could not start; the reason is on standard error.
    """
    arguments = _parser().parse_args()
    limits = Limits(
        max_instances=arguments.max_instances,
        max_characters=arguments.max_characters,
        max_body_bytes=arguments.max_body_mib * 2**20,
    )
    if arguments.stop_at_end_of_input:
        threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    try:
        from taskmix.serving.server import serve

        serve(
            arguments.system,
            name=arguments.name,
            host=arguments.host,
            port=arguments.port,
            grpc_port=arguments.grpc_port,
            limits=limits,
            bounds=Bounds(max_waiting=arguments.max_waiting, max_wait_s=arguments.max_wait_s),
            json_lines=arguments.log_format == "json",
            log_requests=arguments.log_requests,
        )
    except TaskmixError as error:
        print(error_line(error) if arguments.log_format == "json" else error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    default = Limits()
    parser = argparse.ArgumentParser(prog="python -m taskmix.serving", description="Serve a system over KServe's REST.")
    parser.add_argument("system", help="a bundle, job, system, release or champion: a folder or s3:// URI")
    parser.add_argument("--name", default="taskmix", help="what the model is called in URLs (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on (default: %(default)s)")
    parser.add_argument("--grpc-port", type=int, help="port to listen on for gRPC (default: none)")
    parser.add_argument("--max-instances", type=int, default=default.max_instances, help="texts a request")
    parser.add_argument("--max-characters", type=int, default=default.max_characters, help="characters a text")
    parser.add_argument("--max-waiting", type=int, default=Bounds().max_waiting, help="texts that may wait")
    parser.add_argument("--max-wait-s", type=float, default=Bounds().max_wait_s, help="seconds that a request may wait")
    parser.add_argument("--max-body-mib", type=int, default=default.max_body_bytes // 2**20, help="MiB a request")
    parser.add_argument(
        "--log-format", choices=("text", "json"), default="text", help="lines, or a JSON object an event"
    )
    parser.add_argument(
        "--log-requests", action="store_true", help="log protocol, status and time of each request, never a text"
    )
    parser.add_argument(
        "--stop-at-end-of-input",
        action="store_true",
        help="stop when standard input ends: a parent that holds it open takes the server along, however it dies",
    )
    return parser


def _stop_at_end_of_input() -> None:
    while os.read(sys.stdin.fileno(), 4096):  # sys.stdin's own buffer has a lock that a thread must not hold at exit
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
