"""The doubles of a cluster refuse what a cluster would: otherwise the tests that rest on them prove nothing."""

from __future__ import annotations

from typing import Any

import pytest
from crd_schema import CrdSchema
from kube_api import KubeApi
from kubernetes import client, config

TRAIN_JOB: dict[str, Any] = {
    "apiVersion": "trainer.kubeflow.org/v1alpha1",
    "kind": "TrainJob",
    "metadata": {"name": "finetune"},
    "spec": {"runtimeRef": {"name": "taskmix-torch"}, "trainer": {"numNodes": 2, "command": ["python3"]}},
}


def changed(**trainer: Any) -> dict[str, Any]:
    return {**TRAIN_JOB, "spec": {**TRAIN_JOB["spec"], "trainer": {**TRAIN_JOB["spec"]["trainer"], **trainer}}}


def test_a_right_object_has_no_violations(crd_schemas: dict[str, CrdSchema]) -> None:
    assert crd_schemas["TrainJob"].violations(TRAIN_JOB) == []


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (changed(numNodez=2), "spec.trainer: Additional properties are not allowed ('numNodez' was unexpected)"),
        (changed(numNodes="2"), "spec.trainer.numNodes: '2' is not of type 'integer'"),
        (
            changed(numProcPerNode=0),
            "spec.trainer.numProcPerNode: numProcPerNode must be greater than or equal to 1",
        ),
        (
            changed(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]),
            "spec.trainer.env: two entries have {'name': 'A'}",
        ),
        ({**TRAIN_JOB, "kind": "Job"}, "is trainer.kubeflow.org/v1alpha1 Job, not trainer.kubeflow.org/v1alpha1"),
        ({**TRAIN_JOB, "metadata": {"name": "9"}}, "the object: metadata.name must match RFC 1035 DNS label format"),
    ],
)
def test_a_broken_object_is_told(crd_schemas: dict[str, CrdSchema], value: dict[str, Any], told: str) -> None:
    assert any(violation.startswith(told) for violation in crd_schemas["TrainJob"].violations(value))


def test_rules_of_transition_see_what_was_there_before(crd_schemas: dict[str, CrdSchema]) -> None:
    other = {**TRAIN_JOB, "spec": {**TRAIN_JOB["spec"], "runtimeRef": {"name": "another"}}}

    assert crd_schemas["TrainJob"].violations(other, old=TRAIN_JOB) == ["spec.runtimeRef: field is immutable"]


def test_the_api_server_knows_the_custom_resources_and_holds_to_rbac(kube_api: KubeApi) -> None:
    namespace = kube_api.namespace()
    of_jobs = {"apiGroups": ["trainer.kubeflow.org"], "resources": ["trainjobs"], "verbs": ["create"]}
    restricted = kube_api.kubeconfig_of("maker", namespace=namespace, rules=[of_jobs])

    with config.new_client_from_config(str(restricted)) as api:
        jobs = client.CustomObjectsApi(api)
        of = {"group": "trainer.kubeflow.org", "version": "v1alpha1", "namespace": namespace, "plural": "trainjobs"}
        created = jobs.create_namespaced_custom_object(**of, body=TRAIN_JOB)
        with pytest.raises(client.ApiException, match="Forbidden") as caught:
            jobs.get_namespaced_custom_object(**of, name="finetune")

    assert created["metadata"]["resourceVersion"]
    assert caught.value.status == 403
