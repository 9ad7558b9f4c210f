"""Podman with storage of its own: images built from a base that is made here, containers run, all of it removed after.

No registry is needed: the base comes from Debian's packages by mmdebstrap. A pip configuration of this machine, and the
folders and certificates that it names, are mounted while building; they are no part of an image.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

BASE = "localhost/base:test"
CONF = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
netns = "host"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
"""Ulimits below those of a machine that does not let them be raised; runc, since crun refuses hybrid cgroups."""
STORAGE = """
[storage]
driver = "overlay"
graphroot = "{folder}/root"
runroot = "{folder}/run"
"""
TOOLS = {"podman": "podman", "runc": "runc", "mmdebstrap": "mmdebstrap"}
"""Program to the Debian package that brings it."""
BUILD_TIMEOUT_S = 1800
LISTS = ("extra-index-url", "find-links", "trusted-host")
KEYS = ("cert", "constraint", "index-url", "timeout", *LISTS)


class EngineUnavailable(Exception):
    """Containers cannot be run on this machine; the message says why."""


@dataclass(frozen=True)
class Engine:
    """A podman that keeps everything in one folder.

    Attributes:
        folder: that folder.
    """

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Of every podman process."""
        return {
            **os.environ,
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "TMPDIR": str(self.folder / "tmp"),
        }

    def podman(self, *arguments: str, check: bool = True, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """A podman command that has ended."""
        done = subprocess.run(
            ["podman", *arguments], env=self.environment, capture_output=True, text=True, timeout=timeout_s
        )
        assert done.returncode == 0 or not check, (
            f"podman {' '.join(arguments)}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        )
        return done

    def run(self, image: str, *command: str, options: Sequence[str] = (), check: bool = True) -> str:
        """What a container says on standard output, with its root filesystem read-only."""
        return self.podman("run", "--rm", *READ_ONLY, *options, image, *command, check=check).stdout

    def exit_codes(self, *, since: float) -> list[int]:
        """Of the containers that have ended, in their order. KFP's DockerRunner may call a failed one successful."""
        told = self.podman(
            "events", "--stream=false", f"--since={int(since)}", "--filter=event=died", "--format={{json .}}"
        ).stdout
        return [int(json.loads(line).get("ContainerExitCode", 0)) for line in told.splitlines()]


READ_ONLY = ("--read-only", "--read-only-tmpfs=false", "--tmpfs=/tmp:rw,mode=1777", "--cap-drop=all")


@contextmanager
def running_engine(folder: Path, *, keep: bool = False) -> Iterator[Engine]:
    """A podman with a base image in it.

    Args:
        folder: for all that it writes.
        keep: leave images where they are, for the next time; else nothing is left of it after the block.

    Raises:
        EngineUnavailable: tools are missing, or this is not root.
    """
    missing = [package for tool, package in TOOLS.items() if not shutil.which(tool)]
    if missing:
        raise EngineUnavailable(f"not installed: {', '.join(missing)}; apt-get install -y {' '.join(missing)}")
    if os.geteuid() != 0:
        raise EngineUnavailable("building a base image and running its containers needs root here")
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    (folder / "containers.conf").write_text(CONF)
    (folder / "storage.conf").write_text(STORAGE.format(folder=folder))
    engine = Engine(folder)
    try:
        if engine.podman("image", "exists", BASE, check=False).returncode != 0:
            _make_base(engine)
        yield engine
    finally:
        engine.podman("rm", "--all", "--force", "--time=0", check=False)
        if not keep:
            _remove(engine)


def _remove(engine: Engine) -> None:
    for command in (["rmi", "--all", "--force"], ["unmount", "--all", "--force"]):
        engine.podman(*command, check=False)
    shutil.rmtree(engine.folder, ignore_errors=True)


def _make_base(engine: Engine) -> None:
    archive = engine.folder / "base.tar"
    include = "--include=python3,python3-venv,ca-certificates"
    command = ["mmdebstrap", "--variant=minbase", "--quiet", include, "bookworm", str(archive)]
    done = subprocess.run(command, env=engine.environment, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise EngineUnavailable(f"a base image cannot be made: {done.stderr[-500:]}")
    engine.podman("import", "--quiet", str(archive), BASE)
    archive.unlink()


def build_images(engine: Engine, project: Path, *, tag: str) -> str:
    """Build both images by `images/build`, as `make images` does; what it said."""
    configuration = pip_configuration()
    pip_conf = engine.folder / "pip.conf"
    pip_conf.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in configuration.items()))
    mounts = [f"--volume={path}:{path}:ro" for path in mounted(configuration)]
    arguments = ["--network=host", f"--build-arg=BASE_IMAGE={BASE}", "--build-arg=TORCH_INDEX=", *mounts]
    environment = {
        **engine.environment,
        "ENGINE": "podman",
        "PREFIX": "localhost/",
        "TAG": tag,
        "PIP_CONF": str(pip_conf),
        "BUILD_ARGS": " ".join(arguments),
    }
    done = subprocess.run(
        [str(project / "images/build")],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def pip_configuration() -> dict[str, str]:
    """Key to value, of this machine's pip configuration as far as it says where packages come from."""
    told = subprocess.run(["python3", "-m", "pip", "config", "list"], capture_output=True, text=True, timeout=60).stdout
    found: dict[str, str] = {}
    for line in sorted(told.splitlines(), key=lambda line: line.startswith(":env:")):  # the environment comes last
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2]
        if name in KEYS:
            value = value.strip("'\"").replace("\\n", " ")
            found[name] = "\n    ".join(value.split()) if name in LISTS else value
    return found


def mounted(configuration: dict[str, str]) -> list[str]:
    """The files and folders of this machine that a pip configuration leads to."""
    paths = []
    for word in " ".join(configuration.values()).split():
        if word.startswith("file:"):
            paths.append(Path(urlsplit(word).path).parent)  # its pages link to files beside them
        elif word.startswith("/"):
            paths.append(Path(word))
    return sorted({str(path) for path in paths if path.exists()})


@contextmanager
def docker_socket(engine: Engine) -> Iterator[str]:
    """`DOCKER_HOST` of podman's service, which speaks Docker's API while the block lasts."""
    socket = engine.folder / "podman.sock"
    command = ["podman", "system", "service", "--time=0", f"unix://{socket}"]
    with subprocess.Popen(
        command, env=engine.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as service:
        try:
            deadline = time.monotonic() + 60
            while not socket.exists():
                assert service.poll() is None, "podman's service has ended"
                assert time.monotonic() < deadline, "podman's service did not start"
                time.sleep(0.1)
            yield f"unix://{socket}"
        finally:
            service.terminate()


def labels(engine: Engine, image: str) -> dict[str, Any]:
    """An image's configuration: `User`, `Env`, `Labels`, `Cmd`, `Entrypoint`."""
    (told,) = json.loads(engine.podman("image", "inspect", image).stdout)
    config: dict[str, Any] = told["Config"]
    return config


def secrets_in(text: str) -> list[str]:
    """Addresses with a user's name or password in them."""
    return re.findall(r"\w+://[^/\s:@]+:[^/\s@]*@\S+", text)
