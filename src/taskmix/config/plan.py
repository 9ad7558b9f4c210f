"""From a configuration to what is to be done: jobs, systems, and the slice of configuration that each step gets.

A slice is all that decides a step's result, so its hash can stand for the result, and a change elsewhere in the file
reruns nothing. Slices travel between steps as JSON text: KFP turns the integers of a dict into floats.
"""

from __future__ import annotations

from dataclasses import dataclass

from taskmix.config.schema import (
    ApiModel,
    Config,
    DatasetConfig,
    DecoderModel,
    Deployment,
    EncoderModel,
    Hardware,
    LinearModel,
    Measurement,
    ModelConfig,
    Name,
    PromptTemplate,
    Section,
    TaskConfig,
)


class DatasetSlice(Section):
    """What decides the result of ingest: one dataset and the tasks asked of it."""

    name: Name
    seed: int
    dataset: DatasetConfig
    tasks: dict[Name, TaskConfig]


class JobSlice(Section):
    """What decides the result of a training run, but for the data: model x block, and the seed."""

    model_name: Name
    seed: int
    model: ModelConfig
    tasks: dict[Name, TaskConfig]
    """The block's tasks, in the configuration's order."""

    @property
    def name(self) -> str:
        """`<model>.<block>`: the job's folder on storage, whatever the seed."""
        return f"{self.model_name}.{block_name(tuple(self.tasks))}"

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets that the block's tasks are asked of, each once, in the order of the tasks."""
        return tuple(dict.fromkeys(task.dataset for task in self.tasks.values()))


class EvaluationSlice(Section):
    """What decides the result of evaluating a job's bundle."""

    seed: int
    evaluation: Measurement


class DeploymentSlice(Section):
    """What decides how a release is deployed; null hardware leaves resources to the ServingRuntime."""

    deployment: Deployment
    hardware: Hardware | None = None


class NodesSlice(Section):
    """What a TrainJob needs to know besides its job; no part of the job, since it decides no result."""

    image: str
    hardware: Hardware


@dataclass(frozen=True)
class Job:
    """Model x block at one seed: one training run and one bundle."""

    model: str
    tasks: tuple[str, ...]
    seed: int
    """Of the training: order of rows, dropout, new weights. The data's draws are the configuration's `seed`."""
    of_several: bool = False
    """The plan trains the same at other seeds too, so the names below tell the seed."""

    @property
    def name(self) -> str:
        """`<model>.<block>`, e.g. `minilm.intent+slots`; with several seeds `minilm.intent+slots@13`."""
        seed = f"@{self.seed}" if self.of_several else ""
        return f"{self.model}.{block_name(self.tasks)}{seed}"

    @property
    def title(self) -> str:
        """For people: `minilm [intent+slots]`; with several seeds `minilm [intent+slots] seed 13`."""
        seed = f" seed {self.seed}" if self.of_several else ""
        return f"{self.model} [{block_name(self.tasks)}]{seed}"


@dataclass(frozen=True)
class System:
    """Model x grouping: what the report ranks and what is deployed; its jobs together answer every task."""

    model: str
    grouping: str
    jobs: tuple[Job, ...]
    """Of the first seed: what is deployed."""
    repeats: tuple[tuple[Job, ...], ...] = ()
    """The same jobs at each further seed: they say how far the scores vary with it."""

    @property
    def name(self) -> str:
        """`<model>/<grouping>`, e.g. `minilm/merged`."""
        return f"{self.model}/{self.grouping}"

    @property
    def trained(self) -> tuple[Job, ...]:
        """Its jobs at every seed, those of the first before all."""
        return (*self.jobs, *(job for repeat in self.repeats for job in repeat))


@dataclass(frozen=True)
class Plan:
    """All that a configuration asks for; each job once, whatever the number of systems that use it."""

    config: Config
    systems: tuple[System, ...]

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Every job once, in the order of the systems; those of further seeds last."""
        first = [job for system in self.systems for job in system.jobs]
        further = [job for system in self.systems for job in system.trained]
        return tuple(dict.fromkeys([*first, *further]))

    def dataset_slice(self, name: str) -> DatasetSlice:
        """The slice that `ingest` of dataset `name` gets."""
        tasks = {task: unprompted(spec) for task, spec in self.config.tasks.items() if spec.dataset == name}
        return DatasetSlice(name=name, seed=self.config.seed, dataset=self.config.datasets[name], tasks=tasks)

    def job_slice(self, job: Job) -> JobSlice:
        """The slice that `finetune` of `job` gets.

        Hardware and secrets are no part of it, since they decide no result; nor are prompts, where the model reads
        none.
        """
        model = self.config.models[job.model].model_copy(update={"hardware": None})
        if isinstance(model, ApiModel):
            model = model.model_copy(update={"key_secret": None})
        specs = {task: self.config.tasks[task] for task in job.tasks}
        tasks = specs if reads_prompts(model) else {task: unprompted(spec) for task, spec in specs.items()}
        return JobSlice(model_name=job.model, seed=job.seed, model=model, tasks=tasks)

    def evaluation_slice(self) -> EvaluationSlice:
        """The slice that every `evaluate` gets; margins are no part of it, since they decide no score."""
        measured = {name: getattr(self.config.evaluation, name) for name in Measurement.model_fields}
        return EvaluationSlice(seed=self.config.seed, evaluation=Measurement(**measured))

    def deployment_slice(self) -> DeploymentSlice:
        """The slice that `deploy` and `smoke_test` get."""
        deployment = self.config.deployment
        hardware = self.config.hardware[deployment.hardware] if deployment.hardware else None
        return DeploymentSlice(deployment=deployment, hardware=hardware)


def reads_prompts(model: ModelConfig) -> bool:
    """Whether the words of a task's prompt decide what the model answers."""
    return isinstance(model, ApiModel) or (isinstance(model, DecoderModel) and model.head == "generator")


def unprompted(task: TaskConfig) -> TaskConfig:
    """The task without the words that only prompts are made of."""
    return task.model_copy(update={"instruction": None, "prompt": PromptTemplate()})


def block_name(tasks: tuple[str, ...]) -> str:
    """The name of a block: its tasks joined by `+`."""
    return "+".join(tasks)


def blocks(config: Config, grouping: str) -> tuple[tuple[str, ...], ...]:
    """The blocks of a grouping, tasks within a block in the configuration's order (so that equal blocks are equal)."""
    partition = config.groupings[grouping]
    order = list(config.tasks)
    if partition == "each":
        return tuple((task,) for task in order)
    if partition == "all":
        return (tuple(order),)
    return tuple(tuple(sorted(block, key=order.index)) for block in partition)


def training_seeds(config: Config) -> tuple[int, ...]:
    """What each job is trained with: `evaluation.seeds`, or the configuration's own seed; the first is deployed."""
    return config.evaluation.seeds or (config.seed,)


def make_plan(config: Config) -> Plan:
    """The systems and jobs that `config` asks for.

    `systems: all` means model x grouping where it makes sense: two groupings that are the same partition give one
    system. A linear model, which shares nothing between tasks, is taken in the finest of the groupings only. A
    decoder that is not tuned, or an API model, that answers task by task answers alike in every grouping, so it is
    taken in the coarsest only, where its weights are loaded once and no question is paid for twice.
    """
    if config.systems != "all":
        pairs = [(name.split("/")[0], name.split("/")[1]) for name in config.systems]
        return Plan(config, tuple(_system(config, model, grouping) for model, grouping in pairs))
    distinct: dict[frozenset[tuple[str, ...]], str] = {}
    for grouping in config.groupings:
        distinct.setdefault(frozenset(blocks(config, grouping)), grouping)
    systems = []
    for name, model in config.models.items():
        match model:
            case LinearModel():
                groupings = [distinct[max(distinct, key=len)]]
            case DecoderModel(tuning="none", answers="separate") | ApiModel(answers="separate"):
                groupings = [distinct[min(distinct, key=len)]]
            case EncoderModel() | DecoderModel() | ApiModel():
                groupings = list(distinct.values())
        systems += [_system(config, name, grouping) for grouping in groupings]
    return Plan(config, tuple(systems))


def _system(config: Config, model: str, grouping: str) -> System:
    seeds = training_seeds(config)
    first, *further = [
        tuple(Job(model, block, seed, of_several=len(seeds) > 1) for block in blocks(config, grouping))
        for seed in seeds
    ]
    return System(model, grouping, first, tuple(further))
