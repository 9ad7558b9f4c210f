"""What the images do: the quickstart's graph step by step, a prediction, a training that is killed and goes on."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from container_engine import READ_ONLY, docker_socket

from taskmix.config.load import load_config
from taskmix.config.plan import JobSlice, make_plan
from taskmix.config.schema import Config

SMALL = (
    "datasets.utterances.train=400",
    "datasets.utterances.dev=60",
    "datasets.utterances.test=60",
    "models.small-encoder.recipe.epochs=1",
    "evaluation.resamples=100",
    "evaluation.latency_texts=5",
    "gate.minimum={}",
)
"""The graph is the quickstart's own; only its data and epochs are fewer."""
TRAIN = """
import sys
from taskmix.config.plan import JobSlice
from taskmix.training.job import finetune
import logging; logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
print("job", finetune(JobSlice.model_validate_json(sys.argv[1]), datasets=[sys.argv[2]], storage=sys.argv[3]))
"""


@dataclass(frozen=True)
class GraphRun:
    """The graph run in containers.

    Attributes:
        folder: which the containers share.
        told: everything that KFP's runner printed.
        exit_codes: of the containers, by podman.
        returncode: of the process that ran the graph.
    """

    folder: Path
    told: str
    exit_codes: list[int]
    returncode: int

    @property
    def storage(self) -> Path:
        return self.folder / "storage"


def run_graph(images: Any, config: Path, folder: Path, *overrides: str) -> GraphRun:
    """Run a configuration's graph in containers, and find out from podman how each of them ended."""
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)  # the containers' user is another one
    began = math.ceil(time.time())  # podman tells events by whole seconds
    time.sleep(began - time.time())
    command = [sys.executable, str(Path(__file__).with_name("run_graph.py")), str(config), str(folder)]
    with docker_socket(images.engine) as address:
        done = subprocess.run(
            [*command, images.train, images.serve, *overrides],
            env={**os.environ, "DOCKER_HOST": address},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1500,
        )
    return GraphRun(folder, done.stdout, images.engine.exit_codes(since=began), done.returncode)


@pytest.fixture(scope="module")
def shared() -> Iterator[Path]:
    """A folder that the containers' user can reach, and that the containers' own /tmp does not hide."""
    with tempfile.TemporaryDirectory(prefix="taskmix-containers-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def graph(images: Any, project_root: Path, shared: Path) -> GraphRun:
    return run_graph(images, project_root / "configs/quickstart.yaml", shared / "graph", *SMALL)


def test_quickstart_runs_step_by_step_in_containers(graph: GraphRun) -> None:
    assert graph.returncode == 0, graph.told[-5000:]
    assert graph.exit_codes == [0] * 20, "two steps of data, seven jobs trained and evaluated, four of deployment"
    champion = json.loads((graph.storage / "deployments/quickstart/champion.json").read_text())
    assert champion["run"] == "in-containers"
    assert (graph.storage / "runs/in-containers/report/report.html").stat().st_size > 10_000


def test_failed_step_is_found_out_whatever_the_runner_says(images: Any, shared: Path) -> None:
    config = shared / "failing.yaml"
    config.write_text(
        "name: failing\nstorage: s\ndatasets:\n  t: {format: csv, uri: '/nowhere/{split}.csv', text: text}\n"
        "tasks:\n  u: {type: classification, dataset: t, label: u}\nmodels:\n  svm: {kind: linear}\n"
    )

    run = run_graph(images, config, shared / "failing")

    # KFP's runner loses the last lines of a container's log: the step's message is looked for in tests/pipelines alone.
    assert run.exit_codes == [2], run.told


@pytest.fixture
def bundle(graph: GraphRun) -> Path:
    """A merged encoder's."""
    (found,) = graph.storage.glob("jobs/small-encoder.intent+topic+slots/*/bundle")
    return found


@pytest.fixture
def address(images: Any, bundle: Path) -> Iterator[str]:
    """Of a container that serves the bundle, as KServe would start it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    name = f"serve-{port}"
    images.engine.podman(
        "run", "--detach", f"--name={name}", *READ_ONLY, f"--volume={bundle}:/mnt/models:ro", images.serve,
        "python3", "-m", "taskmix.serving", "/mnt/models", "--name", "quickstart", "--port", str(port),
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        images.engine.podman("rm", "--force", "--time=40", name)


def test_serve_image_answers(images: Any, address: str) -> None:
    with httpx.Client(base_url=address, trust_env=False, timeout=60) as client:
        deadline = time.monotonic() + 180
        while not ready(client):
            assert time.monotonic() < deadline, images.engine.podman("logs", "--latest", check=False).stderr[-3000:]
            time.sleep(0.5)
        answer = client.post("/v1/models/quickstart:predict", json={"instances": [{"text": "wake me at nine"}]})
        metrics = client.get("/metrics")

    assert answer.status_code == 200
    (prediction,) = answer.json()["predictions"]
    assert set(prediction) == {"intent", "topic", "slots"}
    assert 0 < prediction["intent"]["probability"] <= 1
    assert metrics.status_code == 200


def ready(client: httpx.Client) -> bool:
    try:
        return client.get("/v2/models/quickstart/ready").status_code == 200
    except httpx.HTTPError:
        return False


def test_killed_training_goes_on_in_another_container(images: Any, graph: GraphRun, project_root: Path) -> None:
    recipe = {"epochs": 12, "checkpoint_steps": 10, "tokens_per_batch": 256}
    overrides = [f"models.small-encoder.recipe.{key}={value}" for key, value in recipe.items()]
    config = load_config(project_root / "configs/quickstart.yaml", overrides=[*SMALL, *overrides])
    (dataset,) = {path.parent for path in graph.storage.glob("datasets/utterances/*/MANIFEST.json")}
    options = [*READ_ONLY, f"--volume={graph.folder}:{graph.folder}", "--network=none", "--env=OMP_NUM_THREADS=1"]
    command = ["python3", "-c", TRAIN, merged_job(config), str(dataset), str(graph.storage)]

    images.engine.podman("run", "--detach", "--name=victim", *options, images.train, *command)
    checkpoints = wait_for_checkpoint(graph.storage)
    images.engine.podman("kill", "--signal=KILL", "victim")
    code = images.engine.podman("wait", "victim").stdout.strip()
    told = images.engine.podman("run", "--rm", *options, images.train, *command, timeout_s=600).stdout

    assert code == "137"
    assert f"resuming from={checkpoints}/" in told
    job = Path(told.splitlines()[-1].removeprefix("job "))
    assert (job / "bundle/MANIFEST.json").exists()
    assert not (job / "checkpoints").exists()


def test_two_processes_train_with_zero_where_nothing_can_be_compiled(images: Any, graph: GraphRun) -> None:
    """DeepSpeed by itself would compile an operator as soon as it starts on a CPU."""
    architecture = {"layers": 1, "hidden": 32, "heads": 2, "feed_forward": 64, "vocabulary": 500}
    recipe = {"epochs": 1, "tokens_per_batch": 4096, "max_tokens": 64, "precision": "fp32", "deepspeed": "zero2"}
    task = {"type": "classification", "dataset": "utterances", "label": "intent", "prompt": {"header": "intent"}}
    model = {"kind": "decoder", "architecture": architecture, "recipe": recipe, "label_decoding": "greedy"}
    job = JobSlice.model_validate({"model_name": "llama", "seed": 3, "model": model, "tasks": {"intent": task}})
    (dataset,) = {path.parent for path in graph.storage.glob("datasets/utterances/*/MANIFEST.json")}
    options = [*READ_ONLY, f"--volume={graph.folder}:{graph.folder}", "--network=none", "--env=OMP_NUM_THREADS=1"]
    command = ["python3", "-m", "taskmix.training.launch", "--slice", job.model_dump_json(), "--processes", "2"]
    command += ["--dataset", str(dataset), "--storage", str(graph.storage)]

    done = images.engine.podman("run", "--rm", *options, images.train, *command, check=False, timeout_s=600)

    assert done.returncode == 0, done.stdout + done.stderr
    assert (Path(done.stdout.splitlines()[-1]) / "bundle/MANIFEST.json").exists()


def merged_job(config: Config) -> str:
    plan = make_plan(config)
    (job,) = (job for job in plan.jobs if job.model == "small-encoder" and len(job.tasks) == 3)
    return plan.job_slice(job).model_dump_json()


def wait_for_checkpoint(storage: Path) -> Path:
    """The folder of the first checkpoint that is complete."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        for manifest in storage.glob("jobs/small-encoder.*/*/checkpoints/*/MANIFEST.json"):
            return manifest.parent.parent
        time.sleep(0.05)
    raise AssertionError("no checkpoint was written")
