"""A small project on a folder: real ingested data, and jobs whose quality the test says."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from reciter import job_slices, load_reciter, publish_job

from taskmix.config.plan import make_plan
from taskmix.config.schema import Config
from taskmix.data.dataset import Dataset, load_dataset
from taskmix.data.ingest import ingest, source_version
from taskmix.evaluation.benchmark import benchmark
from taskmix.evaluation.evaluate import evaluate
from taskmix.evaluation.gate import Verdict, decide

TASKS = {
    "intent": {"type": "classification", "dataset": "assistant", "label": "intent"},
    "topic": {"type": "classification", "dataset": "assistant", "label": "topic"},
    "slots": {"type": "slot_filling", "dataset": "assistant", "annotation": "slots"},
}
MODELS = {
    "linear": {"kind": "linear", "hardware": "cheap"},
    "encoder": {"kind": "encoder", "architecture": {}, "hardware": "cheap"},
}


@dataclass
class Project:
    """One configuration, its datasets, and what it takes to evaluate and benchmark it."""

    config: Config
    datasets: dict[str, Dataset]
    folder: Path
    numbers: itertools.count[int]

    def job(self, index: int, *, skill: float, seed: int = 1) -> str:
        """Publish the plan's job of that number; its URI. Another training seed knows other texts."""
        slice = job_slices(make_plan(self.config))[index]
        seed += 100 * abs(slice.seed - self.config.seed)
        folder = self.folder / f"bundle-{next(self.numbers)}"
        data = list(self.datasets.values())
        return publish_job(slice, datasets=data, root=self.config.storage, folder=folder, skill=skill, seed=seed)

    def evaluate(self, job: str) -> str:
        slice = make_plan(self.config).evaluation_slice()
        load = partial(load_reciter, datasets=list(self.datasets.values()))
        return evaluate(job, slice=slice, datasets=list(self.datasets), load=load)

    def evaluate_all(self, *, skill: Mapping[str, float], seed: int = 1) -> list[str]:
        """Evaluate every job, each as good as its model's skill."""
        jobs = make_plan(self.config).jobs
        return [self.evaluate(self.job(n, skill=skill[job.model], seed=seed)) for n, job in enumerate(jobs)]

    def benchmark(self, run: str, evaluations: Sequence[str]) -> str:
        return benchmark(self.config, run=run, evaluations=evaluations)

    def decide(self, report: str) -> Verdict:
        return decide(report, load=partial(load_reciter, datasets=list(self.datasets.values())))

    def changed(self, **sections: object) -> Project:
        """The same project with other sections of the configuration."""
        content = self.config.model_dump(mode="json") | sections
        return Project(Config.model_validate(content), self.datasets, self.folder, self.numbers)


def project_maker(folder: Path) -> Callable[..., Project]:
    """Makes projects that share one storage."""
    numbers = itertools.count()

    def make(*, test_rows: int = 120, seed: int = 13, **sections: object) -> Project:
        content: dict[str, object] = {
            "name": "assistant",
            "seed": seed,
            "storage": str(folder / "storage"),
            "datasets": {"assistant": {"format": "generated", "train": 200, "dev": 40, "test": test_rows}},
            "tasks": TASKS,
            "models": MODELS,
            "hardware": {"cheap": {"usd_per_hour": 0.5, "nodes": 2}},
            "evaluation": {"resamples": 200, "latency_texts": 20},
        }
        config = Config.model_validate(content | sections)
        plan = make_plan(config)
        slices = [plan.dataset_slice(name) for name in config.datasets]
        uris = [ingest(one, storage=config.storage, version=source_version(one)) for one in slices]
        return Project(config, {uri: load_dataset(Path(uri)) for uri in uris}, folder, numbers)

    return make


@pytest.fixture(scope="module")
def make_shared_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Project]:
    """As `make_project`, for projects that a module's tests only read."""
    return project_maker(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="session")
def make_project_in() -> Callable[[Path], Callable[..., Project]]:
    """Makes makers of projects, each with a storage of its own."""
    return project_maker


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., Project]:
    return project_maker(tmp_path)


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    return make_project()


@pytest.fixture(scope="module")
def report_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report that the module's tests only read."""
    project = project_maker(tmp_path_factory.mktemp("report"))()
    return project.benchmark("run-1", project.evaluate_all(skill={"linear": 0.6, "encoder": 0.9}))
