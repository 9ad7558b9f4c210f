"""Kubeflow Trainer and a node's kubelet, played against a real API server: pods in all states, and their logs."""

from __future__ import annotations

import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from kube_api import KubeApi
from kubernetes import client

from taskmix.cluster.connection import Cluster, Object
from taskmix.cluster.kinds import POD, TRAIN_JOB

WAIT_S = 60.0


def until(holds: Callable[[], Any]) -> Any:
    """Wait for what a test expects to come, and return it."""
    deadline_s = time.monotonic() + WAIT_S
    while time.monotonic() < deadline_s:
        if found := holds():
            return found
        time.sleep(0.02)
    raise AssertionError("waited in vain")


@dataclass
class PlayedTrainer:
    """The controller and the kubelet of one namespace.

    Attributes:
        cluster: with every right.
        node: the name of the node that pods run on.
        logs: pod to the text of its log.
    """

    cluster: Cluster
    node: str
    logs: dict[str, str] = field(default_factory=dict)

    def train_job(self, name: str, *, other_than: Object | None = None) -> Object:
        """The TrainJob of this name, once it is there and not the one given."""
        old = other_than["metadata"]["uid"] if other_than else None

        def there() -> Object | None:
            found = self.cluster.find(TRAIN_JOB, name)
            return found if found and found["metadata"]["uid"] != old else None

        found: Object = until(there)
        return found

    def pod(self, train_job: Object, index: int, *, log: str = "", **status: Any) -> Object:
        """Make the pod of one node, in the state given."""
        name = f"{train_job['metadata']['name']}-node-0-{index}-{secrets.token_hex(3)}"
        labels = {
            "jobset.sigs.k8s.io/jobset-name": train_job["metadata"]["name"],
            "jobset.sigs.k8s.io/replicatedjob-name": "node",
            "batch.kubernetes.io/job-completion-index": str(index),
        }
        self.logs[name] = log
        spec = {"nodeName": self.node, "containers": [{"name": "node", "image": "none"}]}
        value = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}
        self.cluster.create(POD, value)
        return self.turn(name, **({"phase": "Running"} | status))

    def turn(self, pod: str, **status: Any) -> Object:
        """Let a pod be in another state."""
        return self._patch_status(POD.root, "pods", pod, status)

    def end(self, train_job: Object, condition: str, *, message: str = "") -> None:
        """Let the TrainJob be `Complete` or `Failed`."""
        told = {"type": condition, "status": "True", "reason": f"Jobs{condition}", "message": message}
        told["lastTransitionTime"] = "2026-01-01T00:00:00Z"
        self._patch_status(TRAIN_JOB.root, "trainjobs", train_job["metadata"]["name"], {"conditions": [told]})

    def remove(self, pod: Object) -> None:
        """Take a pod away at once, as when its node is gone."""
        name, namespace = pod["metadata"]["name"], self.cluster.namespace
        client.CoreV1Api(self.cluster.api).delete_namespaced_pod(name, namespace, grace_period_seconds=0)

    def _patch_status(self, root: str, plural: str, name: str, status: Object) -> Object:
        value: Object = self.cluster.api.call_api(
            f"{root}/namespaces/{self.cluster.namespace}/{plural}/{name}/status",
            "PATCH",
            header_params={"Content-Type": "application/merge-patch+json"},
            body={"status": status},
            auth_settings=["BearerToken"],
            response_type="object",
            _return_http_data_only=True,
        )
        return value


@contextmanager
def playing_trainer(kube_api: KubeApi, cluster: Cluster) -> Iterator[PlayedTrainer]:
    """Play both; the API server asks the played kubelet for logs, as it asks a real one."""
    played = PlayedTrainer(cluster, f"node-{secrets.token_hex(4)}")

    class Kubelet(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            pod = self.path.partition("?")[0].split("/")[3]  # /containerLogs/<namespace>/<pod>/<container>
            self.send_response(200)
            self.end_headers()
            self.wfile.write(played.logs[pod].encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(kube_api.folder / "pki/server.crt", kube_api.folder / "pki/server.key")
    with ThreadingHTTPServer(("127.0.0.1", 0), Kubelet) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        _add_node(cluster, played.node, port=server.server_address[1])
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield played
        finally:
            server.shutdown()
            thread.join()


def _add_node(cluster: Cluster, name: str, *, port: int) -> None:
    core = client.CoreV1Api(cluster.api)
    core.create_node({"metadata": {"name": name}})
    address = {"type": "InternalIP", "address": "127.0.0.1"}
    status = {"addresses": [address], "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}
    core.patch_node_status(name, {"status": status})
