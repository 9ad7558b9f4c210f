"""Compile a configuration's graph for a Kubeflow cluster: images by digest, hardware, retries, the run's own id."""

from pathlib import Path

from kfp import compiler, dsl, kubernetes

from taskmix.config.quantities import cpu_quantity, memory_quantity
from taskmix.config.schema import Config, Hardware
from taskmix.errors import ConfigError
from taskmix_pipelines.graph import Keys, Target, build_pipeline
from taskmix_pipelines.sharing import share_components

RETRIED = frozenset({"ingest", "finetune"})
"""Long steps that reach out, and that go on where they stopped. KFP's retry does not cover evicted pods."""
RETRIES = 2
SHARED_MEMORY = "shared-memory"


def compile_for_cluster(config: Config, *, output: Path, source: str = "configuration") -> None:
    """Write the compiled pipeline of `config` to the YAML file `output`.

    Args:
        config: what to compile.
        output: the file; replaced.
        source: what the configuration is called in errors.

    Raises:
        ConfigError: no images are given, storage is a folder, which a cluster's pods do not share, or a step shall have
            what KFP cannot give it.
    """
    images = config.images
    problems = _cluster_problems(config)
    if images is None or problems:
        raise ConfigError(source, problems)

    def place(task: dsl.PipelineTask, *, step: str, hardware: str | None, keys: Keys) -> None:
        if step in RETRIED:
            task.set_retry(RETRIES, backoff_duration="60s", backoff_factor=2.0, backoff_max_duration="600s")
        for name, variables in config.environment_from.items():
            kubernetes.use_secret_as_env(task, secret_name=name, secret_key_to_env={each: each for each in variables})
        if hardware is not None and not (step == "finetune" and config.hardware[hardware].by_trainer):
            place_on(task, config.hardware[hardware])  # a step that follows a TrainJob needs no GPU of its own
        for variable, secret in keys.items():
            kubernetes.use_secret_as_env(task, secret_name=secret.name, secret_key_to_env={secret.key: variable})

    target = Target(
        run=dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER,
        images={"train": images.train, "serve": images.serve},
        place=place,
        on_cluster=True,
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(build_pipeline(config, target=target), str(output))
    share_components(output)


def _cluster_problems(config: Config) -> list[str]:
    problems = []
    if config.images is None:
        problems.append(
            "images: not given, but a cluster needs them; add images: {train: <image>, serve: <image>}, each pinned by "
            "digest, e.g. --set images.train=registry.example/taskmix-train@sha256:<64 hex digits>"
        )
    if "://" not in config.storage:
        problems.append(
            f"storage: '{config.storage}' is a folder of this machine, which a cluster's pods do not share; "
            "give s3://bucket/prefix, e.g. --storage s3://bucket/prefix"
        )
    for name, model in config.models.items():
        if model.hardware and config.hardware[model.hardware].priority_class:
            problems.append(
                f"hardware.{model.hardware}.priority_class: KFP 2.17 cannot give a step a priority class, and "
                f"models.{name} trains on it; take it out, and name it in the TrainingRuntime of a profile with "
                "trainer: true"
            )
    return problems


def place_on(task: dsl.PipelineTask, hardware: Hardware) -> None:
    """Ask for a node of this kind and for its resources; requests equal limits, so that training is evicted last."""
    if hardware.cpus is not None:
        cpus = cpu_quantity(hardware.cpus)
        task.set_cpu_request(cpus).set_cpu_limit(cpus)
    if hardware.memory_gib is not None:
        memory = memory_quantity(hardware.memory_gib)
        task.set_memory_request(memory).set_memory_limit(memory)
    if hardware.gpus:
        task.set_accelerator_type(hardware.accelerator).set_accelerator_limit(str(hardware.gpus))
    for key, value in hardware.node_selector.items():
        kubernetes.add_node_selector(task, label_key=key, label_value=value)
    for toleration in hardware.tolerations:
        kubernetes.add_toleration(task, **toleration.model_dump())
    if hardware.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, secret_names=list(hardware.image_pull_secrets))
    if hardware.shared_memory_gib is not None:
        size = memory_quantity(hardware.shared_memory_gib)
        kubernetes.empty_dir_mount(
            task, volume_name=SHARED_MEMORY, mount_path="/dev/shm", medium="Memory", size_limit=size
        )
