"""Carrying images over: `images/mirror` between two paths of a real registry on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

SCRIPT = "images/mirror"
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DIGEST = "@sha256:" + "0" * 64
REGISTRY = """
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: "{folder}"}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@dataclass(frozen=True)
class Place:
    """A registry that runs, and a machine's settings that let skopeo speak plain HTTP with it.

    Attributes:
        registry: `127.0.0.1:<port>`.
        environment: for the script.
        script: its path.
    """

    registry: str
    environment: dict[str, str]
    script: Path

    def mirror(self, *arguments: str, names: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.script, *arguments], input=names, env=self.environment, capture_output=True, text=True, timeout=60
        )


@pytest.fixture(scope="module")
def place(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    if missing := [tool for tool in ("skopeo", "docker-registry") if shutil.which(tool) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("registry")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "registry.yml").write_text(REGISTRY.format(folder=folder / "store", port=port))
    (folder / ".config/containers").mkdir(parents=True)
    settings = f'[[registry]]\nlocation = "127.0.0.1:{port}"\ninsecure = true\n'
    (folder / ".config/containers/registries.conf").write_text(settings)
    environment = os.environ | {"HOME": str(folder), "NO_PROXY": "127.0.0.1"}
    environment.pop("XDG_CONFIG_HOME", None)
    server = subprocess.Popen(
        ["docker-registry", "serve", folder / "registry.yml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/v2/", server)
        yield Place(f"127.0.0.1:{port}", environment, project_root / SCRIPT)
    finally:
        server.terminate()
        server.wait(10)


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert server.poll() is None, "the registry ended"
        try:
            if httpx.get(url, trust_env=False).status_code == httpx.codes.OK:
                return
        except httpx.ConnectError:
            time.sleep(0.05)
    raise AssertionError("the registry is not ready")


@pytest.fixture(scope="module")
def images(place: Place, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two images in the registry, each for two platforms; their names by digest."""
    return [
        _push(place, f"outside/team/{name}", tmp_path_factory.mktemp(name))
        for name in ("taskmix-train", "taskmix-serve")
    ]


def _push(place: Place, path: str, folder: Path) -> str:
    """Put an image of a few bytes, made here in OCI's layout, into the registry; its name by digest."""

    def blob(value: Any) -> dict[str, Any]:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        digest = hashlib.sha256(data).hexdigest()
        (folder / "blobs/sha256").mkdir(parents=True, exist_ok=True)
        (folder / "blobs/sha256" / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    platforms = []
    for architecture in ("amd64", "arm64"):
        layer = f"{path} for {architecture}".encode()
        system = {"os": "linux", "architecture": architecture}
        files = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}
        config = blob(system | {"rootfs": files, "config": {}})
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", **blob(layer)}],
        }
        platforms.append({"mediaType": MANIFEST, "platform": system, **blob(manifest)})
    index = blob({"schemaVersion": 2, "mediaType": INDEX, "manifests": platforms})
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    top = {"mediaType": INDEX, "annotations": {"org.opencontainers.image.ref.name": "1"}, **index}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    to = f"{place.registry}/{path}"
    command = ["skopeo", "copy", "--all", "--preserve-digests", f"oci:{folder}:1", f"docker://{to}:1"]
    done = subprocess.run(command, env=place.environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return f"{to}@{index['digest']}"


def held(place: Place, name: str) -> dict[str, Any]:
    """What the registry holds under a name by digest."""
    path, _, digest = name.removeprefix(f"{place.registry}/").partition("@")
    answer = httpx.get(
        f"http://{place.registry}/v2/{path}/manifests/{digest}", headers={"accept": INDEX}, trust_env=False
    )
    assert answer.status_code == httpx.codes.OK, answer.text
    assert f"sha256:{hashlib.sha256(answer.content).hexdigest()}" == digest
    return answer.json()


def test_images_arrive_whole_under_the_same_digests(place: Place, images: list[str], tmp_path: Path) -> None:
    tagged = images[1].replace("@", ":1.2@")
    names = "\n".join([images[0], "", tagged])  # without an end of the last line
    saved = place.mirror("save", str(tmp_path), names=names)
    assert saved.returncode == 0, saved.stderr
    loaded = place.mirror("load", str(tmp_path), f"{place.registry}/inside", names=names)
    assert loaded.returncode == 0, loaded.stderr
    told = [line for line in loaded.stdout.splitlines() if re.search(r"@sha256:[0-9a-f]{64}$", line)]
    assert told == [name.replace("/outside/", "/inside/outside/") for name in images]
    for name in told:
        systems = [entry["platform"]["architecture"] for entry in held(place, name)["manifests"]]
        assert systems == ["amd64", "arm64"], "every platform"


def test_an_image_that_was_changed_on_the_way_is_not_loaded(place: Place, images: list[str], tmp_path: Path) -> None:
    name, other = images
    assert place.mirror("save", str(tmp_path), names=f"{name}\n{other}\n").returncode == 0
    folder = tmp_path / name.partition("@")[2].replace(":", "-")
    manifest = folder / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    done = place.mirror("load", str(tmp_path), f"{place.registry}/changed", names=f"{name}\n{other}\n")
    assert done.returncode == 2
    assert done.stdout == "", "nothing was told to be there"
    assert f"{folder} does not hold {name.partition('@')[2]}" in done.stderr


def test_an_image_that_is_not_there_ends_the_copying(place: Place, images: list[str], tmp_path: Path) -> None:
    absent = f"{place.registry}/outside/team/absent{DIGEST}"
    saved = place.mirror("save", str(tmp_path), names=f"{absent}\n{images[0]}\n")
    assert saved.returncode == 1
    assert "manifest unknown" in saved.stderr
    assert not list(tmp_path.glob("*/manifest.json")), "the second was not begun"
    loaded = place.mirror("load", str(tmp_path), f"{place.registry}/inside", names=f"{images[0]}\n")
    assert loaded.returncode == 2
    assert "does not hold" in loaded.stderr


@pytest.mark.parametrize(
    ("arguments", "names", "told"),
    [
        ([], "", "give 'save FOLDER' or 'load FOLDER REGISTRY'"),
        (["save", "folder", "registry"], "", "give 'save FOLDER' or 'load FOLDER REGISTRY'"),
        (["load", "folder"], "", "give 'save FOLDER' or 'load FOLDER REGISTRY'"),
        (["save", "folder"], "registry.example/team/taskmix-train:1\n", "is not named by digest"),
    ],
)
def test_what_cannot_be_done_is_told(place: Place, arguments: list[str], names: str, told: str) -> None:
    done = place.mirror(*arguments, names=names)
    assert done.returncode == 2
    assert told in done.stderr


def test_without_skopeo_it_says_what_to_install(project_root: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", project_root / SCRIPT, "save", "folder"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "needs skopeo, which is not installed; apt-get install skopeo" in done.stderr
