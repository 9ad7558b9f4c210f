"""KServe and its pods, played against a real API server: statuses, Deployments, and servers behind a gateway.

The controller does what KServe 0.21's does with the objects (names, statuses, revisions, the webhook's refusals); the
gateway answers for each host name with the release that KServe would route to, through the real predictor.
"""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Literal

from crd_schema import CrdSchema
from kubernetes import client

from taskmix.cluster.connection import Cluster, Object
from taskmix.cluster.kinds import DEPLOYMENT, INFERENCE_SERVICE, POD, Kind
from taskmix.errors import Absent, Conflict
from taskmix.modeling.system import System, load_system
from taskmix.serving.predictor import Instance, predict
from taskmix.storage import local_copy

Fault = Literal["fails to load", "never scheduled", "not told"]
DOMAIN = "example.test"


class StrictCluster(Cluster):
    """A connection that sends nothing but what the published schema and KServe's webhook allow."""

    schemas: ClassVar[dict[str, CrdSchema]] = {}

    def create(self, kind: Kind, value: Object) -> Object:
        self._check(kind, value, None)
        return super().create(kind, value)

    def replace(self, kind: Kind, value: Object) -> Object:
        self._check(kind, value, self.find(kind, value["metadata"]["name"]))
        return super().replace(kind, value)

    def _check(self, kind: Kind, value: Object, old: Object | None) -> None:
        if kind.name in self.schemas:
            violations = self.schemas[kind.name].violations(value, old=old)
            assert not violations, violations
        if kind == INFERENCE_SERVICE:
            _check_as_webhook(value, old)


def _check_as_webhook(value: Object, old: Object | None) -> None:
    """The refusals of KServe 0.21's webhook that concern canaries (inference_service_validation.go)."""
    stable, entries = value["spec"]["predictor"], value["spec"].get("canary") or []
    names = [entry["predictor"]["name"] for entry in entries]
    mode = value["metadata"]["annotations"]["serving.kserve.io/deploymentMode"]
    assert not entries or mode == "Standard"
    # Knative's own webhook, on the Service that KServe's controller would make (serving/fieldmask.go).
    assert mode not in ("Knative", "Serverless") or "terminationGracePeriodSeconds" not in stable
    assert len({*names, stable.get("name")}) == len(names) + 1, "a canary's name is taken"
    for entry in entries:
        assert not {"maxReplicas", "scaleTarget", "scaleMetric", "autoScaling"} & entry["predictor"].keys()
        assert entry["predictor"]["minReplicas"] <= stable.get("minReplicas", 1)
    before = old["spec"]["predictor"] if old else stable
    if before.get("name") != stable.get("name"):
        assert before["model"]["storageUri"] != stable["model"]["storageUri"], "a new name needs a new model"


@dataclass
class PlayedKServe:
    """The controller and the gateway, while they play.

    Attributes:
        cluster: with every right.
        gateway: the address at which everything is asked.
        faults: part of a storage URI to what goes wrong with it.
        seen: what each state of a service came to: storage URIs by share of requests, in order, without repeats.
    """

    cluster: Cluster
    gateway: str = ""
    faults: dict[str, Fault] = field(default_factory=dict)
    seen: list[dict[str, int]] = field(default_factory=list)
    _hosts: dict[str, tuple[str, str]] = field(default_factory=dict)
    _revisions: dict[str, list[Object]] = field(default_factory=dict)
    _rolled_out: dict[str, int] = field(default_factory=dict)
    _systems: dict[str, System] = field(default_factory=dict)
    _done: dict[str, int] = field(default_factory=dict)
    _loading: threading.Lock = field(default_factory=threading.Lock)

    def play(self, stopped: threading.Event) -> None:
        """Reconcile, again and again."""
        while not stopped.wait(0.05):
            for service in self.cluster.list(INFERENCE_SERVICE):
                try:
                    self._reconcile(service)
                except (Absent, Conflict):
                    continue

    def fault(self, predictor: Object) -> Fault | None:
        uri = predictor["model"]["storageUri"]
        return next((fault for part, fault in self.faults.items() if part in uri), None)

    def system(self, uri: str) -> System:
        """The release as a pod would load it."""
        with self._loading:
            if uri not in self._systems:
                with local_copy(uri) as folder:
                    self._systems[uri] = load_system(str(folder), device="cpu")
            return self._systems[uri]

    def route(self, host: str) -> tuple[str, str] | None:
        """The model's name and storage URI behind a host name."""
        return self._hosts.get(host)

    def _reconcile(self, service: Object) -> None:
        meta = service["metadata"]
        if self._done.get(meta["uid"]) == meta["generation"]:
            return
        knative = meta["annotations"]["serving.kserve.io/deploymentMode"] in ("Knative", "Serverless")
        status = self._knative(service) if knative else self._standard(service)
        status["observedGeneration"] = meta["generation"]
        status["url"] = f"http://{meta['name']}.{self.cluster.namespace}.{DOMAIN}"
        self._write_status(INFERENCE_SERVICE, {**service, "status": status})
        self._done[meta["uid"]] = meta["generation"]

    def _standard(self, service: Object) -> Object:
        name, stable = service["metadata"]["name"], service["spec"]["predictor"]
        shares = {stable["model"]["storageUri"]: 100}
        self._deployment(name, stable, service)
        canaries = []
        for entry in service["spec"].get("canary") or ():
            ready = self._deployment(name, entry["predictor"], service)
            model = self._model_status(entry["predictor"])
            percent = entry["trafficPercent"]
            canaries.append({"name": entry["predictor"]["name"], "ready": ready, "trafficPercent": percent} | model)
            host = f"{_workload(name, entry['predictor'])}.{self.cluster.namespace}.svc.cluster.local"
            self._hosts[host] = (name, entry["predictor"]["model"]["storageUri"])
            shares[entry["predictor"]["model"]["storageUri"]] = percent if ready else 0
        expected = {_workload(name, each) for each in [stable, *_entries(service)]}
        for deployment in self.cluster.list(DEPLOYMENT, labels=f"serving.kserve.io/inferenceservice={name}"):
            if deployment["metadata"]["name"] not in expected:
                self.cluster.delete(DEPLOYMENT, deployment["metadata"]["name"])
        if self.fault(stable) is None:  # else the old pods go on
            self._hosts[f"{name}.{self.cluster.namespace}.{DOMAIN}"] = (name, stable["model"]["storageUri"])
            self._see(shares)
        status = {"deploymentMode": "Standard", "conditions": [{"type": "Ready", "status": "True"}]}
        return status | self._model_status(stable) | ({"canaryStatuses": canaries} if canaries else {})

    def _knative(self, service: Object) -> Object:
        name, spec = service["metadata"]["name"], copy.deepcopy(service["spec"]["predictor"])
        percent = spec.pop("canaryTrafficPercent", None)
        revisions = self._revisions.setdefault(service["metadata"]["uid"], [])
        if not revisions or revisions[-1] != spec:
            revisions.append(spec)
        latest, healthy = len(revisions), self.fault(spec) is None
        rolled = self._rolled_out.get(name, 0)
        if healthy and percent is None:
            rolled = self._rolled_out[name] = latest
        host = f"{name}.{self.cluster.namespace}.{DOMAIN}"
        if healthy:
            self._hosts[f"latest-{host}"] = (name, spec["model"]["storageUri"])
        if rolled:
            stable = revisions[rolled - 1]["model"]["storageUri"]
            self._hosts[host] = (name, stable)
            shared = healthy and rolled != latest  # Knative sends nobody to a revision that is not ready
            self._see({stable: 100} | ({spec["model"]["storageUri"]: percent or 0} if shared else {}))
        component = {
            "latestCreatedRevision": f"{name}-predictor-{latest:05d}",
            "latestReadyRevision": f"{name}-predictor-{latest if healthy else max(rolled, 1):05d}",
            "traffic": [{"latestRevision": True, "percent": percent, "tag": "latest", "url": f"http://latest-{host}"}],
        }
        component["traffic"][0] = {key: value for key, value in component["traffic"][0].items() if value is not None}
        if not healthy:
            self._pod({"serving.knative.dev/revision": component["latestCreatedRevision"]}, spec)
        ready = {"type": "Ready", "status": "True" if healthy or rolled else "False"}
        told = {"deploymentMode": "Knative", "components": {"predictor": component}, "conditions": [ready]}
        return told | self._model_status(spec)

    def _see(self, shares: dict[str, int]) -> None:
        told = {uri.rstrip("/").rpartition("/")[2]: share for uri, share in shares.items()}
        if not self.seen or self.seen[-1] != told:
            self.seen.append(told)

    def _model_status(self, predictor: Object) -> Object:
        if self.fault(predictor) != "fails to load":
            return {"modelStatus": {"transitionStatus": "UpToDate"}}
        info = {"reason": "ModelLoadFailed", "message": "the bundle is corrupt"}
        return {"modelStatus": {"transitionStatus": "BlockedByFailedLoad", "lastFailureInfo": info}}

    def _deployment(self, name: str, predictor: Object, service: Object) -> bool:
        """Make or change a predictor's Deployment; whether its pods are ready."""
        workload, fault = _workload(name, predictor), self.fault(predictor)
        labels = {"app": f"isvc.{workload}"}
        container = {"name": "kserve-container", "image": "none", "args": [predictor["model"]["storageUri"]]}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
        owned = {"serving.kserve.io/inferenceservice": name}
        value = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": workload, "labels": owned}}
        existing = self.cluster.find(DEPLOYMENT, workload)
        if existing is None:
            existing = self.cluster.create(DEPLOYMENT, {**value, "spec": spec})
        elif existing["spec"]["template"]["spec"]["containers"][0]["args"] != container["args"]:
            existing = self.cluster.replace(DEPLOYMENT, {**existing, "spec": spec})
        generation, up = existing["metadata"]["generation"], int(fault is None)
        counts = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": up, "availableReplicas": up}
        status = {"observedGeneration": generation, **counts}
        self._write_status(DEPLOYMENT, {**existing, "status": status})
        if fault:
            self._pod(labels, predictor)
        return up == 1

    def _pod(self, labels: dict[str, str], predictor: Object) -> None:
        fault, name = self.fault(predictor), f"pod-{time.monotonic_ns()}"
        if fault == "not told":
            return
        container = {"name": "kserve-container", "image": "none"}
        value = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}}
        pod = self.cluster.create(POD, {**value, "spec": {"containers": [container]}})
        if fault == "never scheduled":
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
            status: Object = {
                "phase": "Pending",
                "conditions": [condition | {"message": "0/3 nodes: Insufficient gpu"}],
            }
        else:
            waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off restarting"}}
            ended = {"terminated": {"exitCode": 2, "reason": "Error"}}
            told = {"name": "kserve-container", "image": "none", "imageID": "", "ready": False, "restartCount": 4}
            status = {"phase": "Running", "containerStatuses": [told | {"state": waiting, "lastState": ended}]}
        self._write_status(POD, {**pod, "status": status})

    def _write_status(self, kind: Kind, value: Object) -> None:
        path = f"{kind.root}/namespaces/{self.cluster.namespace}/{kind.plural}/{value['metadata']['name']}/status"
        try:
            self.cluster.api.call_api(
                path,
                "PUT",
                header_params={"Content-Type": "application/json"},
                body=value,
                auth_settings=["BearerToken"],
                response_type="object",
            )
        except client.ApiException as error:
            if error.status not in (404, 409):
                raise
            raise (Absent if error.status == 404 else Conflict)(str(error.body)) from None


@contextmanager
def playing_kserve(cluster: Cluster) -> Iterator[PlayedKServe]:
    """Play KServe in the namespace of `cluster` while the block lasts."""
    played, stopped = PlayedKServe(cluster), threading.Event()

    class Handler(_Handler):
        kserve = played

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        played.gateway = f"http://127.0.0.1:{server.server_address[1]}"
        threads = [threading.Thread(target=server.serve_forever), threading.Thread(target=played.play, args=(stopped,))]
        for thread in threads:
            thread.start()
        try:
            yield played
        finally:
            stopped.set()
            server.shutdown()
            for thread in threads:
                thread.join(30)


class _Handler(BaseHTTPRequestHandler):
    """The gateway: hosts lead to releases."""

    kserve: PlayedKServe

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: Any) -> None:
        found = self.kserve.route(self.headers["Host"])
        if found is None or f"/v1/models/{found[0]}" != self.path.removesuffix(":predict"):
            self._send(404, {"error": f"nothing at {self.headers['Host']}{self.path}"})
            return
        system = self.kserve.system(found[1])
        if body is None:
            bundles = [{"manifest": part.manifest, "tasks": list(part.tasks)} for part in system.parts]
            self._send(200, {"name": found[0], "ready": True, "bundles": bundles})
            return
        instances = [Instance(each["text"], tuple(each["tasks"])) for each in body["instances"]]
        self._send(200, {"predictions": predict(system, instances)})

    def _send(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _workload(name: str, predictor: Object) -> str:
    return f"{name}-{predictor['name']}-predictor" if predictor.get("name") else f"{name}-predictor"


def _entries(service: Object) -> list[Object]:
    return [entry["predictor"] for entry in service["spec"].get("canary") or ()]
