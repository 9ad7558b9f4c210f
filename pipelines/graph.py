"""From a configuration to KFP's graph: fingerprint, ingest, finetune, evaluate, benchmark, gate, deploy, smoke test.

Jobs are unrolled here, so that every node has a name that a person understands and its own hardware. The graph is the
same on a laptop and on a cluster; what differs comes from the caller: images, the run's id, and how a task is placed.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Protocol

from kfp import dsl

from taskmix.config.plan import Job, NodesSlice, Plan, make_plan
from taskmix.config.schema import ApiModel, Config, KeySecret, ModelConfig
from taskmix_components.benchmark.component import benchmark
from taskmix_components.deploy.component import deploy
from taskmix_components.evaluate.component import evaluate
from taskmix_components.export.component import export
from taskmix_components.finetune.component import finetune
from taskmix_components.fingerprint.component import fingerprint
from taskmix_components.gate.component import gate
from taskmix_components.ingest.component import ingest
from taskmix_components.keep_champion.component import keep_champion
from taskmix_components.smoke_test.component import smoke_test
from taskmix_components.trigger.component import trigger

NEVER_CACHED = frozenset(
    {"fingerprint", "trigger", "benchmark", "gate", "export", "deploy", "smoke_test", "keep_champion"}
)
"""Steps that read more than their inputs, or write what belongs to this run or to the deployment."""
OUTPUT = "Output"
"""KFP's name of a function's return value."""


Keys = Mapping[str, KeySecret]
"""Environment variable to the secret that fills it, for steps that ask endpoints."""


class Place(Protocol):
    """Sets what only one of the runners understands: resources, retries, secrets."""

    def __call__(self, task: dsl.PipelineTask, *, step: str, hardware: str | None, keys: Keys) -> None:
        """Settle one task of `step`, to run on the configuration's `hardware` (null: anywhere), with `keys`."""
        ...


def leave_as_it_is(task: dsl.PipelineTask, *, step: str, hardware: str | None, keys: Keys) -> None:
    """The local runner's `Place`: it ignores resources, and retrying a failed step would only hide its error."""


@dataclass(frozen=True)
class Target:
    """What differs between runners.

    Attributes:
        run: the run's id, or KFP's placeholder for it.
        images: container image of the steps that train and evaluate, and of those that serve.
        place: called once a task.
        on_cluster: winners go to KServe and jobs of several nodes to Kubeflow Trainer; else both stay on this machine.
    """

    run: str
    images: dict[Literal["train", "serve"], str]
    place: Place = leave_as_it_is
    on_cluster: bool = False


def build_pipeline(config: Config, *, target: Target) -> Callable[[], Any]:
    """KFP's pipeline for `config`; call it to run it locally, or give it to KFP's compiler."""
    graph = _Graph(make_plan(config), target)

    def pipeline() -> None:
        _deploy_if_accepted(graph, _benchmark(graph, _datasets(graph)))

    built: Callable[[], Any] = dsl.pipeline(name=config.name, description=f"taskmix: {config.name}")(pipeline)
    return built


class _Graph:
    """The graph in the making: adds nodes."""

    def __init__(self, plan: Plan, target: Target) -> None:
        self.plan = plan
        self.config = plan.config
        self.target = target

    def add(
        self,
        function: Callable[..., Any],
        *,
        of: str = "",
        image: Literal["train", "serve"] = "train",
        hardware: str | None = None,
        keys: Keys = MappingProxyType({}),
        **arguments: Any,
    ) -> dsl.PipelineTask:
        """A node that runs `function` with `arguments`, named after the step and what it is `of`."""
        step = function.__name__
        title = f"{step.replace('_', ' ')} {of}".strip()
        component = dsl.component(function, base_image=self.target.images[image], install_kfp_package=False)
        task = component(title=title, **arguments)
        task.set_display_name(title)
        task.set_caching_options(enable_caching=step not in NEVER_CACHED)
        self.target.place(task, step=step, hardware=hardware, keys=keys)
        return task


def _datasets(graph: _Graph) -> dict[str, Any]:
    """Dataset to its URI, for the datasets that jobs need."""
    uris = {}
    for name in dict.fromkeys(name for job in graph.plan.jobs for name in graph.plan.job_slice(job).datasets):
        slice_json = graph.plan.dataset_slice(name).model_dump_json(exclude_defaults=True)
        version = graph.add(fingerprint, of=name, slice=slice_json)
        task = graph.add(
            ingest,
            of=name,
            slice=slice_json,
            version=version.outputs[OUTPUT],
            storage=graph.config.storage,
        )
        uris[name] = _triggered(graph, name, task.outputs[OUTPUT])
    return uris


def _triggered(graph: _Graph, name: str, fresh: Any) -> Any:
    """URI of the version of a dataset that the run learns from: the fresh one, unless a trigger may hold it back."""
    when = graph.config.schedule.retrain_when if graph.config.schedule else None
    if when is None:
        return fresh
    asks = when.drift_texts is not None  # the served system, which may be any of the plan's
    return graph.add(
        trigger,
        of=name,
        hardware=_hardware_of_any(graph.plan) if asks else None,
        keys=keys_of(graph.config.models.values()) if asks else {},
        config=graph.config.model_dump_json(exclude_defaults=True),
        dataset=name,
        fresh=fresh,
        run=graph.target.run,
    ).outputs[OUTPUT]


def _benchmark(graph: _Graph, datasets: dict[str, Any]) -> Any:
    """URI of the report on all jobs."""
    evaluations = [_train_and_evaluate(graph, job, datasets) for job in graph.plan.jobs]
    return graph.add(
        benchmark,
        config=graph.config.model_dump_json(exclude_defaults=True),
        run=graph.target.run,
        evaluations=evaluations,
    ).outputs[OUTPUT]


def _train_and_evaluate(graph: _Graph, job: Job, datasets: dict[str, Any]) -> Any:
    """URI of a job's evaluation."""
    job_slice = graph.plan.job_slice(job)
    hardware = graph.config.models[job.model].hardware
    uris = [datasets[name] for name in job_slice.datasets]
    trained = graph.add(
        finetune,
        of=job.title,
        hardware=hardware,
        slice=job_slice.model_dump_json(exclude_defaults=True),
        datasets=uris,
        storage=graph.config.storage,
        nodes=_nodes(graph, hardware),
    )
    return graph.add(
        evaluate,
        of=job.title,
        hardware=hardware,
        keys=keys_of([graph.config.models[job.model]]),
        slice=graph.plan.evaluation_slice().model_dump_json(exclude_defaults=True),
        job=trained.outputs[OUTPUT],
        datasets=uris,
    ).outputs[OUTPUT]


def _hardware_of_any(plan: Plan) -> str | None:
    """The strongest hardware of the plan's models: the gate may have to ask any of them, pinned or changed texts."""
    named = {plan.config.models[system.model].hardware for system in plan.systems} - {None}
    profiles = {name: plan.config.hardware[name] for name in named if name is not None}
    return max(profiles, key=lambda name: (profiles[name].gpus, profiles[name].memory_gib or 0, name), default=None)


def keys_of(models: Iterable[ModelConfig]) -> dict[str, KeySecret]:
    """What the models' endpoints take, as far as the configuration says where a cluster keeps it."""
    asked = [model for model in models if isinstance(model, ApiModel)]
    return {model.key_env: model.key_secret for model in asked if model.key_env and model.key_secret}


def _nodes(graph: _Graph, hardware: str | None) -> str:
    """What a TrainJob on this hardware needs; empty where the step trains itself."""
    profile = graph.config.hardware[hardware] if hardware else None
    if profile is None or not profile.by_trainer or not graph.target.on_cluster:
        return ""
    return NodesSlice(image=graph.target.images["train"], hardware=profile).model_dump_json(exclude_defaults=True)


def _deploy_if_accepted(graph: _Graph, report: Any) -> None:
    deployment = graph.config.deployment.name
    keys = keys_of(graph.config.models.values())
    verdict = graph.add(gate, hardware=_hardware_of_any(graph.plan), keys=keys, report=report)
    with dsl.If(verdict.output == True, name="accepted"):  # noqa: E712 (KFP overloads the comparison)
        served = _export(graph, report)
        settings = graph.plan.deployment_slice().model_dump_json(exclude_defaults=True)
        how = {"slice": settings, "target": "kserve" if graph.target.on_cluster else "local"}
        release = graph.add(deploy, of=deployment, report=served, run=graph.target.run, **how)
        graph.add(smoke_test, of=deployment, image="serve", keys=keys, release=release.outputs[OUTPUT], **how)
    with dsl.Else(name="refused"):
        graph.add(keep_champion, of=deployment, report=report, deployment=deployment, storage=graph.config.storage)


def _export(graph: _Graph, report: Any) -> Any:
    """URI of the report, once the winner is exported for the configured backend."""
    settings = graph.config.deployment
    if settings.backend == "torch":
        return report
    return graph.add(
        export,
        of=settings.backend,
        report=report,
        backend=settings.backend,
        max_loss=settings.max_backend_loss,
    ).outputs[OUTPUT]
