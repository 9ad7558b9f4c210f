"""A real S3 server for tests: OpenStack Swift with its S3 API, on loopback, on a folder, one process a service.

It lives in a virtual environment of its own, made once and shared by all test runs of this user.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

REQUIREMENTS = Path(__file__).with_name("swift_requirements.txt")
SERVICES = ("object", "container", "account")
START_ATTEMPTS = 3
START_TIMEOUT_S = 60.0

SWIFT_CONF = """\
[swift-hash]
swift_hash_path_prefix = taskmix
swift_hash_path_suffix = tests
[storage-policy:0]
name = one
default = yes
"""

STORAGE_CONF = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
swift_dir = {folder}/etc
devices = {folder}/devices
mount_check = false
workers = 0
log_level = WARNING
disable_fallocate = true
fallocate_reserve = 0
[pipeline:main]
pipeline = {service}-server
[app:{service}-server]
use = egg:swift#{service}
recon_cache_path = {folder}/cache
[{service}-replicator]
[{service}-auditor]
[{service}-sharder]
"""

PROXY_CONF = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
swift_dir = {folder}/etc
workers = 0
log_level = WARNING
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck listing_formats bulk s3api tempauth copy slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
conn_timeout = 5
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
dns_compliant_bucket_names = true
location = us-east-1
auth_pipeline_check = true
[filter:tempauth]
use = egg:swift#tempauth
user_ml_{user} = {secret_key} .admin
user_ml_{user}stranger = {secret_key}
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
"""


END_WITH_PARENT = """\
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1: PR_SET_PDEATHSIG of linux/prctl.h
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Has the kernel end a service when the test process dies, however it dies; on other systems it would stay."""


BUILD_RINGS = """\
import sys
from swift.common.ring import RingBuilder
for service, port in zip(("object", "container", "account"), sys.argv[1:]):
    builder = RingBuilder(part_power=4, replicas=1, min_part_hours=1)
    where = {"region": 1, "zone": 1, "ip": "127.0.0.1", "device": "d1", "weight": 1.0, "meta": ""}
    builder.add_dev({**where, "port": int(port), "replication_ip": "127.0.0.1", "replication_port": int(port)})
    builder.rebalance()
    builder.get_ring().save(f"{service}.ring.gz")
"""


class SwiftUnavailable(Exception):
    """Swift cannot be installed here; the message says why."""


class SwiftNotStarted(Exception):
    """Swift is installed and did not start; the message holds what it said."""


@dataclass(frozen=True)
class SwiftServer:
    """A running server."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    stranger_key: str
    """The access key, with the same secret, of a user whom nobody has given any permission."""
    folder: Path
    """What it writes; objects are files below `devices`."""


def install_swift() -> Path:
    """Return the folder of Swift's programs, made at the first call of all; other test processes wait for it.

    Raises:
        SwiftUnavailable: its packages cannot be installed.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taskmix-tests"
    name = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    home = cache / f"swift-{name}"
    programs = home / "bin"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"swift-{name}.lock"):
        if (home / "complete").exists():
            return programs
        shutil.rmtree(home, ignore_errors=True)
        venv.create(home, with_pip=True)
        command = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*command, "-r", str(REQUIREMENTS)], capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            raise SwiftUnavailable(f"OpenStack Swift cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
        (home / "complete").touch()
    return programs


@contextmanager
def running_swift(programs: Path, folder: Path) -> Iterator[SwiftServer]:
    """Run a server on free ports and a fresh folder while the block lasts.

    Raises:
        SwiftNotStarted: it did not answer in time, in several attempts.
    """
    for attempt in range(1, START_ATTEMPTS + 1):
        with ExitStack() as stack:
            try:
                server = _start(programs, folder / f"swift-{attempt}", stack)
            except SwiftNotStarted:  # another process may have taken a port in between
                if attempt == START_ATTEMPTS:
                    raise
                continue
            yield server
            return


def _start(programs: Path, folder: Path, stack: ExitStack) -> SwiftServer:
    user, secret_key = f"key{secrets.token_hex(6)}", secrets.token_hex(20)
    proxy_port, *ports = _free_ports(1 + len(SERVICES))
    for name in ("etc", "devices/d1", "cache", "log"):
        (folder / name).mkdir(parents=True)
    etc = folder / "etc"
    (etc / "swift.conf").write_text(SWIFT_CONF)
    (etc / "proxy-server.conf").write_text(
        PROXY_CONF.format(folder=folder, port=proxy_port, user=user, secret_key=secret_key)
    )
    for service, port in zip(SERVICES, ports, strict=True):
        (etc / f"{service}-server.conf").write_text(STORAGE_CONF.format(folder=folder, port=port, service=service))
    _build_rings(programs, etc, ports)
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    children = [stack.enter_context(_service(programs, folder, name)) for name in (*SERVICES, "proxy")]
    _wait_until_up(proxy_port, children, folder)
    return SwiftServer(f"http://127.0.0.1:{proxy_port}", f"ml:{user}", secret_key, f"ml:{user}stranger", folder)


def _build_rings(programs: Path, etc: Path, ports: Sequence[int]) -> None:
    command = [str(programs / "python"), "-c", BUILD_RINGS, *map(str, ports)]
    subprocess.run(command, cwd=etc, env=_environment(etc), check=True, capture_output=True)


@contextmanager
def _service(programs: Path, folder: Path, name: str) -> Iterator[subprocess.Popen[bytes]]:
    service = [str(programs / f"swift-{name}-server"), str(folder / "etc" / f"{name}-server.conf")]
    command = [str(programs / "python"), "-c", END_WITH_PARENT, *service]
    with (folder / "log" / f"{name}.log").open("wb") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, env=_environment(folder / "etc"))
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def _environment(etc: Path) -> dict[str, str]:
    return {**os.environ, "SWIFT_CONF": str(etc), "PYTHONWARNINGS": "ignore"}


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait_until_up(port: int, children: list[subprocess.Popen[bytes]], folder: Path) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s and all(child.poll() is None for child in children):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/healthcheck")
            if connection.getresponse().read() == b"OK":
                return
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)
        finally:
            connection.close()
    said = {log.stem: log.read_text(errors="replace")[-2000:] for log in sorted((folder / "log").iterdir())}
    raise SwiftNotStarted(f"Swift did not start on port {port}: {said}")
