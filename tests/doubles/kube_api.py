"""A real Kubernetes API server for tests: etcd and kube-apiserver on loopback, with the CRDs of KServe and Trainer.

Started by `up` of ../shared/envtest; no node and no controller runs: a test that needs a status plays the controller.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock
from kubernetes import client, config

START_ATTEMPTS = 3
START_TIMEOUT_S = 90.0
PORTS = 3
"""`up` takes the port given for the API server and the next two for etcd."""
STOP_WITH_PARENT = 'read -r _; exec "$0" "$1"'
"""Waits for the end of its standard input, which the test process holds open: the servers stop however it dies."""


class KubeApiUnavailable(Exception):
    """The API server cannot be had on this machine; the message says why."""


class KubeApiNotStarted(Exception):
    """It did not start; the message holds what it said."""


@dataclass(frozen=True)
class KubeApi:
    """A running API server.

    Attributes:
        kubeconfig: of its administrator.
        folder: what it writes; its logs lie there.
    """

    kubeconfig: Path
    folder: Path

    def client(self) -> client.ApiClient:
        """A client with every right."""
        return config.new_client_from_config(str(self.kubeconfig))

    def namespace(self) -> str:
        """A fresh namespace. It stays: what would empty it, a controller, does not run."""
        name = f"test-{secrets.token_hex(5)}"
        with self.client() as api:
            client.CoreV1Api(api).create_namespace({"metadata": {"name": name}})
        return name

    def kubeconfig_of(self, account: str, *, namespace: str, rules: Sequence[dict[str, Any]] = ()) -> Path:
        """The kubeconfig of a new service account, with its own token, allowed what `rules` (of a Role) allow."""
        with self.client() as api:
            core, rbac = client.CoreV1Api(api), client.RbacAuthorizationV1Api(api)
            core.create_namespaced_service_account(namespace, {"metadata": {"name": account}})
            if rules:
                rbac.create_namespaced_role(namespace, {"metadata": {"name": account}, "rules": list(rules)})
                subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
                role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account}
                binding = {"metadata": {"name": account}, "subjects": [subject], "roleRef": role}
                rbac.create_namespaced_role_binding(namespace, binding)
            asked = {"spec": {"audiences": ["https://kubernetes.default.svc"], "expirationSeconds": 3600}}
            token = core.create_namespaced_service_account_token(account, namespace, asked).status.token
        value = yaml.safe_load(self.kubeconfig.read_text())
        value["users"][0]["user"] = {"token": token}
        value["contexts"][0]["context"]["namespace"] = namespace
        path = self.folder / f"{namespace}.{account}.kubeconfig"
        path.write_text(yaml.safe_dump(value))
        return path


@contextmanager
def running_kube_api(envtest: Path, folder: Path, *, crds: Sequence[Path] = ()) -> Iterator[KubeApi]:
    """Run an API server on free ports and a fresh folder while the block lasts.

    Args:
        envtest: the folder of `up` and `down`.
        folder: for its state.
        crds: CustomResourceDefinitions to load, a YAML file each.

    Raises:
        KubeApiUnavailable: etcd is not there and cannot be had.
        KubeApiNotStarted: it did not answer in time, in several attempts.
    """
    path = os.pathsep.join([str(etcd_folder()), os.environ.get("PATH", os.defpath)])
    for attempt in range(1, START_ATTEMPTS + 1):
        of_attempt = folder / f"kube-{attempt}"
        of_attempt.mkdir(parents=True)
        stopper = subprocess.Popen(
            ["sh", "-c", STOP_WITH_PARENT, str(envtest / "down"), str(of_attempt)],
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C must not end it before its work is done
        )
        try:
            command = [str(envtest / "up"), str(of_attempt), str(_free_port())]
            environment = {**os.environ, "PATH": path}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=START_TIMEOUT_S)
            if done.returncode != 0:  # another process may have taken a port in between
                if attempt == START_ATTEMPTS:
                    raise KubeApiNotStarted(f"{' '.join(command)}: {done.stderr[-2000:]}")
                continue
            kube = KubeApi(Path(done.stdout.strip().splitlines()[-1]), of_attempt)
            _load_crds(kube, crds)
            yield kube
            return
        finally:
            assert stopper.stdin is not None
            stopper.stdin.close()
            stopper.wait(30)


def etcd_folder() -> Path:
    """The folder that holds `etcd`: of the system, or of Debian's package unpacked below this user's cache.

    Unpacked rather than installed: that needs no root, and starts no service.

    Raises:
        KubeApiUnavailable: neither is to be had.
    """
    if found := shutil.which("etcd"):
        return Path(found).parent
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taskmix-tests"
    home = cache / "etcd"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "etcd.lock"):
        if not (home / "usr/bin/etcd").exists():
            _unpack_etcd(home)
    return home / "usr/bin"


def _unpack_etcd(home: Path) -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise KubeApiUnavailable("etcd is not installed, and without apt-get its package cannot be had; install etcd")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    download = ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", "etcd-server"]
    done = subprocess.run(download, cwd=home, capture_output=True, text=True, timeout=300)
    if done.returncode != 0 and os.geteuid() == 0:  # the lists of packages may be absent or old
        subprocess.run(["apt-get", "update", "-qq"], capture_output=True, timeout=300, check=False)
        done = subprocess.run(download, cwd=home, capture_output=True, text=True, timeout=300)
    packages = list(home.glob("*.deb"))
    if done.returncode != 0 or not packages:
        raise KubeApiUnavailable(f"etcd is not installed, and its package cannot be fetched: {done.stderr.strip()}")
    subprocess.run(["dpkg", "-x", str(packages[0]), str(home)], check=True, timeout=60)


def _load_crds(kube: KubeApi, paths: Sequence[Path]) -> None:
    with kube.client() as api:
        definitions = client.ApiextensionsV1Api(api)
        names = []
        for path in paths:
            for value in yaml.load_all(path.read_bytes(), Loader=yaml.CSafeLoader):
                if value:
                    definitions.create_custom_resource_definition(value)
                    names.append(value["metadata"]["name"])
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not all(_established(definitions, name) for name in names):
            assert time.monotonic() < deadline_s, f"not established: {names}"
            time.sleep(0.1)


def _established(definitions: client.ApiextensionsV1Api, name: str) -> bool:
    conditions = definitions.read_custom_resource_definition_status(name).status.conditions or []
    return any(each.type == "Established" and each.status == "True" for each in conditions)


def _free_port() -> int:
    """A port that is free, and so are those after it that `up` takes."""
    for _ in range(50):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = int(server.getsockname()[1])
        if port + PORTS <= 65535 and all(_is_free(port + offset) for offset in range(PORTS)):
            return port
    raise KubeApiNotStarted(f"no {PORTS} free ports in a row were found")


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
