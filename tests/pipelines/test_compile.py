"""Compiled pipelines: every configuration of ours, and what the hardware profile becomes."""

import re
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from taskmix.config.load import load_config
from taskmix.config.plan import DeploymentSlice, NodesSlice, make_plan
from taskmix.config.schema import Config, Deployment
from taskmix.errors import ConfigError
from taskmix_pipelines.compile import compile_for_cluster

DIGEST = "a" * 64
CLUSTER = [
    f"images.train=registry.example/train@sha256:{DIGEST}",
    f"images.serve=registry.example/serve@sha256:{DIGEST}",
    "storage=s3://bucket/prefix",
]
CONFIGS = sorted((Path(__file__).parents[2] / "configs").rglob("*.yaml"))
BYTES_WITHOUT_JOBS = 27_000
BYTES_PER_JOB = 3_600
BYTES_AT_MOST = 280_000
"""KFP keeps a run as one object in etcd, which takes 1.5 MB; KFP's own form of it is several times the YAML."""


Compiled = tuple[str, dict[str, Any], dict[str, Any]]
"""The text of a compiled pipeline, its graph, and its settings for Kubernetes by executor."""


def compiled(config: Config) -> Compiled:
    """`config` compiled, once in all tests: the largest takes KFP some seconds."""
    return _compiled(config.model_dump_json())


@cache
def _compiled(config_json: str) -> Compiled:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pipeline.yaml")
        compile_for_cluster(Config.model_validate_json(config_json), output=path)
        text = path.read_text()
    documents = list(yaml.load_all(text, Loader=yaml.CSafeLoader))
    platform = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if len(documents) > 1 else {}
    return text, documents[0], platform


def executor_of(spec: dict[str, Any], title: str) -> str:
    """Name of the executor that runs the step called `title`."""
    (task,) = [task for task in spec["root"]["dag"]["tasks"].values() if task["taskInfo"]["name"] == title]
    label: str = spec["components"][task["componentRef"]["name"]]["executorLabel"]
    return label


def test_no_configuration_is_left_out() -> None:
    assert len(CONFIGS) == 5


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configuration_compiles_for_a_cluster(path: Path) -> None:
    config = load_config(path, overrides=CLUSTER)
    text, spec, _ = compiled(config)
    executors = spec["deploymentSpec"]["executors"]
    jobs = make_plan(config).jobs
    assert len(text) < BYTES_WITHOUT_JOBS + BYTES_PER_JOB * len(jobs)
    assert len(text) < BYTES_AT_MOST
    tasks = spec["root"]["dag"]["tasks"].values()
    assert sum(task["taskInfo"]["name"].startswith("finetune ") for task in tasks) == len(jobs)
    kinds = {config.models[job.model].hardware for job in jobs}
    assert sum(name.startswith("exec-finetune") for name in executors) <= len(kinds), "one a kind of hardware"
    for executor in executors.values():
        container = executor["container"]
        assert re.fullmatch(r"registry\.example/(train|serve)@sha256:a{64}", container["image"])
        assert "pip install" not in " ".join(container["command"])
        resources = container.get("resources", {})
        amounts = [value for key, value in resources.items() if key.startswith("resource")]
        amounts += list(resources.get("accelerator", {}).values())
        assert all(isinstance(amount, str) for amount in amounts)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_input_is_given(path: Path) -> None:
    text, spec, _ = compiled(load_config(path, overrides=CLUSTER))
    graphs = {"root": spec["root"], **spec["components"]}
    seen = 0
    for graph in graphs.values():
        tasks = graph.get("dag", {}).get("tasks", {})
        for task in tasks.values():
            given = task.get("inputs", {}).get("parameters", {})
            wanted = spec["components"][task["componentRef"]["name"]].get("inputDefinitions", {}).get("parameters", {})
            assert wanted.keys() <= given.keys()
            for value in given.values():
                seen += 1
                if "taskOutputParameter" in value:
                    assert value["taskOutputParameter"]["producerTask"] in tasks
                elif "componentInputParameter" in value:
                    assert value["componentInputParameter"] in graph["inputDefinitions"]["parameters"]
                else:
                    for channel in re.findall(r"parameters\['(.+?)'\]", str(value["runtimeValue"]["constant"])):
                        assert channel in given
    assert seen > 20
    assert set(re.findall(r"\{\{\$\.(\w+)", text)) == {"inputs", "pipeline_job_resource_name"}


@pytest.fixture
def config(project_root: Path) -> Config:
    return load_config(project_root / "configs" / "massive.yaml", overrides=CLUSTER)


def test_hardware_profile_becomes_resources_and_placement(config: Config) -> None:
    _, spec, platform = compiled(config)
    encoders = {
        name: executor["container"]["resources"]
        for name, executor in spec["deploymentSpec"]["executors"].items()
        if "accelerator" in executor["container"].get("resources", {})
    }
    assert len(encoders) == 3, (
        "encoder jobs share how they are trained and how they are evaluated; the gate asks them too"
    )
    for name, resources in encoders.items():
        assert resources["accelerator"] == {
            "count": "1",
            "resourceCount": "1",
            "resourceType": "nvidia.com/gpu",
            "type": "nvidia.com/gpu",
        }
        assert resources["resourceCpuLimit"] == resources["resourceCpuRequest"] == "8"
        assert resources["resourceMemoryLimit"] == resources["resourceMemoryRequest"] == "32Gi"
        placed = platform[name]
        assert placed["nodeSelector"]["labels"] == {"pool": "gpu"}
        assert placed["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
        assert placed["emptyDirMounts"] == [
            {"volumeName": "shared-memory", "mountPath": "/dev/shm", "medium": "Memory", "sizeLimit": "8Gi"}
        ]


def test_parts_of_a_cpu_and_of_a_gibibyte_are_whole_quantities(config: Config) -> None:
    half = config.hardware["cpu"].model_copy(update={"cpus": 1.5, "memory_gib": 2.5})
    _, spec, _ = compiled(config.model_copy(update={"hardware": {**config.hardware, "cpu": half}}))
    resources = [
        executor["container"].get("resources", {}) for executor in spec["deploymentSpec"]["executors"].values()
    ]
    linear = [each for each in resources if each.get("resourceCpuLimit") == "1500m"]
    assert len(linear) == 2
    assert all(each["resourceMemoryLimit"] == "2560Mi" for each in linear)


def test_long_steps_are_retried_and_others_are_not(config: Config) -> None:
    _, spec, _ = compiled(config)
    tasks = spec["root"]["dag"]["tasks"]
    retried = {name for name, task in tasks.items() if "retryPolicy" in task}
    assert {re.sub(r"-\d+$", "", name) for name in retried} == {"ingest", "finetune"}
    assert tasks["finetune"]["retryPolicy"]["maxRetryCount"] == 2


def test_every_step_gets_the_keys_of_the_secrets_by_name(config: Config) -> None:
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    _, spec, platform = compiled(config.model_copy(update={"environment_from": {"taskmix-s3": keys}}))
    assert platform.keys() == spec["deploymentSpec"]["executors"].keys()
    for placed in platform.values():
        json_format.ParseDict(placed, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
        (secret,) = placed["secretAsEnv"]
        assert secret["secretName"] == "taskmix-s3"
        assert secret["keyToEnv"] == [{"envVar": key, "secretKey": key} for key in keys]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_compiled_pipeline_is_what_kfp_publishes(path: Path) -> None:
    _, spec, platform = compiled(load_config(path, overrides=CLUSTER))
    read = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())  # refuses unknown fields and wrong types
    assert platform.keys() <= read.deployment_spec["executors"].keys()
    for placed in platform.values():
        json_format.ParseDict(placed, kubernetes_executor_config_pb2.KubernetesExecutorConfig())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_no_step_installs_or_fetches_anything(path: Path) -> None:
    _, spec, _ = compiled(load_config(path, overrides=CLUSTER))
    for executor in spec["deploymentSpec"]["executors"].values():
        container = executor["container"]
        command = " ".join([*container["command"], *container.get("args", [])])
        assert not re.search(r"\b(pip3?|uv|conda|apt-get|apt|curl|wget|git)\b", command), command
        assert container["command"][-1].count("def ") == 1, "the step's own function, without helpers of KFP"


def test_served_step_runs_in_the_image_for_serving(config: Config) -> None:
    _, spec, _ = compiled(config)
    images = {name: executor["container"]["image"] for name, executor in spec["deploymentSpec"]["executors"].items()}
    assert {name for name, image in images.items() if "/serve@" in image} == {"exec-smoke-test"}


def test_jobs_share_a_definition_only_where_it_is_the_same(config: Config) -> None:
    _, spec, platform = compiled(config)
    tasks = {task["taskInfo"]["name"]: task for task in spec["root"]["dag"]["tasks"].values()}
    used = {name: task["componentRef"]["name"] for name, task in tasks.items()}
    assert used["finetune minilm [intent]"] == used["finetune minilm [slots]"]
    assert used["finetune minilm [intent]"] != used["finetune tfidf-svm [intent]"], "other hardware"
    assert used["finetune minilm [intent]"] != used["evaluate minilm [intent]"]
    inside = [
        task["componentRef"]["name"]
        for component in spec["components"].values()
        for task in component.get("dag", {}).get("tasks", {}).values()
    ]
    assert {*used.values(), *inside} == set(spec["components"])
    labels = {component["executorLabel"] for component in spec["components"].values() if "dag" not in component}
    assert labels == set(spec["deploymentSpec"]["executors"])
    assert platform.keys() <= labels


def test_steps_that_ask_an_endpoint_get_its_key_from_a_secret(project_root: Path) -> None:
    config = load_config(project_root / "configs" / "paper.yaml", overrides=CLUSTER)
    _, spec, platform = compiled(config)
    asked = executor_of(spec, "evaluate gpt-4o-5shot [topic20+topic7+intent+slots]")
    other = executor_of(spec, "evaluate roberta-base [intent]")
    (secret,) = platform[asked]["secretAsEnv"]
    assert (secret["secretName"], secret["keyToEnv"]) == (
        "endpoint-keys",
        [{"envVar": "OPENAI_API_KEY", "secretKey": "openai"}],
    )
    assert "secretAsEnv" not in platform.get(other, {})
    assert {label for label in platform if "secretAsEnv" in platform[label]} == {asked, "exec-gate", "exec-smoke-test"}


def test_cluster_needs_images_and_shared_storage(project_root: Path, tmp_path: Path) -> None:
    config = load_config(project_root / "configs" / "quickstart.yaml")
    with pytest.raises(ConfigError, match=r"(?s)2 problems.*images: not given.*@sha256.*storage: 'artifacts'"):
        compile_for_cluster(config, output=tmp_path / "pipeline.yaml", source="quickstart")
    assert not (tmp_path / "pipeline.yaml").exists()


def with_hardware(config: Config, **changed: Any) -> Config:
    """`config` with its GPU profile changed, which its encoders train on."""
    gpu = config.hardware["one-gpu"].model_copy(update=changed)
    return config.model_copy(update={"hardware": {**config.hardware, "one-gpu": gpu}})


def test_secrets_for_pulling_images_come_from_the_hardware_profile(config: Config) -> None:
    _, spec, platform = compiled(with_hardware(config, image_pull_secrets=("registry",)))
    pulling = {name: placed["imagePullSecret"] for name, placed in platform.items() if "imagePullSecret" in placed}
    trained, evaluated = (executor_of(spec, f"{step} minilm [intent]") for step in ("finetune", "evaluate"))
    assert pulling.keys() == {trained, evaluated, "exec-gate"}
    assert all(secrets[0]["secretName"] == "registry" for secrets in pulling.values())


def test_a_priority_class_is_refused_for_steps_which_kfp_cannot_give_one(config: Config, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"hardware\.one-gpu\.priority_class: KFP 2\.17 cannot give a step a priority"
    ):
        compile_for_cluster(with_hardware(config, priority_class="high"), output=tmp_path / "pipeline.yaml")


def test_a_step_that_follows_a_train_job_takes_no_gpu_and_knows_image_and_hardware(config: Config) -> None:
    _, spec, platform = compiled(with_hardware(config, nodes=2))
    executors, tasks = spec["deploymentSpec"]["executors"], spec["root"]["dag"]["tasks"]
    on_gpus = {name for name, each in executors.items() if "accelerator" in each["container"].get("resources", {})}
    assert on_gpus == {executor_of(spec, "evaluate minilm [intent]"), "exec-gate"}
    given = [
        tasks[name]["inputs"]["parameters"]["nodes"]["runtimeValue"]["constant"] for name in tasks if "finetune" in name
    ]
    several = [NodesSlice.model_validate_json(text) for text in given if text]
    assert len(several) == 3
    assert all(nodes.hardware.nodes == 2 and "/train@sha256:" in nodes.image for nodes in several)
    assert executor_of(spec, "finetune minilm [intent]") not in platform


def test_the_compiled_graph_deploys_to_kserve_as_configured(config: Config) -> None:
    changed = config.model_copy(
        update={"deployment": Deployment(name="assistant", hardware="one-gpu", canary_percent=25)}
    )
    _, spec, _ = compiled(changed)
    accepted = next(
        each for name, each in spec["components"].items() if "deploy" in each.get("dag", {}).get("tasks", {})
    )
    for step in ("deploy", "smoke-test"):
        given = accepted["dag"]["tasks"][step]["inputs"]["parameters"]
        settings = DeploymentSlice.model_validate_json(given["slice"]["runtimeValue"]["constant"])
        assert (settings.deployment.canary_percent, settings.hardware) == (25, config.hardware["one-gpu"])
        assert given["target"]["runtimeValue"]["constant"] == "kserve"
