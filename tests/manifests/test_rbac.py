"""What each account may do, asked of a real API server: all that its pods need, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kubernetes import client
from manifest_check import ManifestCheck

NAMESPACE = "taskmix"
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
NEEDED = {
    ("", "pods"): {"get", "list"},
    ("", "pods/log"): {"get"},
    ("apps", "deployments"): {"get"},
    ("argoproj.io", "workflowtaskresults"): {"create", "patch"},
    ("coordination.k8s.io", "leases"): {"get", "create", "update"},
    ("serving.kserve.io", "inferenceservices"): {"get", "create", "update", "delete"},
    ("trainer.kubeflow.org", "trainjobs"): {"get", "create", "delete"},
}
"""Of the steps' account: (API group, resource) to the verbs that KFP's launcher, deployment and training use."""
NEEDED_BY_NAME = {("configmaps", "kfp-launcher"), ("secrets", "taskmix-s3")}
ELSEWHERE = {
    ("argoproj.io", "workflows"),
    ("argoproj.io", "workflowtaskresults"),
    ("trainer.kubeflow.org", "trainingruntimes"),
}
"""Resources that the server of this test does not know; it answers for them all the same."""


@pytest.fixture(scope="module")
def resources(check: ManifestCheck) -> set[tuple[str, str]]:
    """Every namespaced resource that there is, with sub-resources: (API group, resource)."""
    return {(group, each["name"]) for group, each in check.resources() if each["namespaced"]} | ELSEWHERE


def allowed(check: ManifestCheck, account: str, *, namespace: str = NAMESPACE, **attributes: str) -> bool:
    """Whether an account may do something, as `kubectl auth can-i --as` would find out."""
    review = {
        "spec": {
            "user": f"system:serviceaccount:{NAMESPACE}:{account}",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}", "system:authenticated"],
            "resourceAttributes": {"namespace": namespace, **attributes},
        }
    }
    return bool(client.AuthorizationV1Api(check.api).create_subject_access_review(review).status.allowed)


def questions(resources: set[tuple[str, str]]) -> Iterator[dict[str, str]]:
    """Everything that can be asked for about resources, without a name."""
    for group, resource in sorted(resources):
        name, _, part = resource.partition("/")
        for verb in VERBS:
            yield {"group": group, "resource": name, "subresource": part, "verb": verb}


def test_steps_may_do_what_they_need_and_nothing_else(check: ManifestCheck, resources: set[tuple[str, str]]) -> None:
    may: dict[tuple[str, str], set[str]] = {}
    for asked in questions(resources):
        if allowed(check, "taskmix-pipeline", **asked):
            resource = "/".join(filter(None, (asked["resource"], asked["subresource"])))
            may.setdefault((asked["group"], resource), set()).add(asked["verb"])

    assert len(resources) > 40
    assert may == NEEDED


def test_steps_may_read_two_objects_by_name(check: ManifestCheck) -> None:
    for resource, name in NEEDED_BY_NAME:
        assert allowed(check, "taskmix-pipeline", resource=resource, name=name, verb="get")
        assert not allowed(check, "taskmix-pipeline", resource=resource, name="another", verb="get")
        for verb in ("update", "patch", "delete"):
            assert not allowed(check, "taskmix-pipeline", resource=resource, name=name, verb=verb)


def test_steps_may_do_nothing_outside_of_their_namespace(check: ManifestCheck) -> None:
    for (group, resource), verbs in NEEDED.items():
        for verb in verbs:
            asked = {"group": group, "resource": resource, "verb": verb}
            assert not allowed(check, "taskmix-pipeline", namespace="taskmix-dev", **asked)
            assert not allowed(check, "taskmix-pipeline", namespace="", **asked)


@pytest.mark.parametrize("account", ["taskmix-serving", "taskmix-training"])
def test_pods_that_run_models_may_do_nothing(
    account: str, check: ManifestCheck, resources: set[tuple[str, str]]
) -> None:
    asked = [each for each in questions(resources) if each["verb"] in ("get", "list", "create", "delete")]

    assert [each for each in asked if allowed(check, account, **each)] == []
