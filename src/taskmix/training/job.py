"""One job from datasets to bundle: the step `finetune`, for every kind of model.

A job's folder on storage is named by its fingerprint. A complete bundle there is reused, a half-trained one goes on
from its newest checkpoint, and nothing that lacks a manifest is believed.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from taskmix.config.plan import JobSlice
from taskmix.config.schema import ApiModel, DecoderModel, EncoderModel, LinearModel, ModelConfig
from taskmix.data.dataset import Dataset, load_dataset
from taskmix.data.mixture import Mixture, make_mixture
from taskmix.data.schema import Split
from taskmix.errors import TrainingError
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.bundle import CARD_FILE, BundleCard, TrainingRecord, head_cards, installed_versions, write_card
from taskmix.modeling.checkpoint import checkpoint_version
from taskmix.storage import delete_prefix, fingerprint, is_complete, join, local_copy, publish
from taskmix.training.code import code_version
from taskmix.training.launch import is_first, launch, workers_wanted

logger = logging.getLogger(__name__)


class Fitted(Protocol):
    """What training comes to for the bundle's card, whatever the kind."""

    @property
    def temperatures(self) -> dict[str, float]:
        """Task to the temperature that its logits are divided by."""
        ...

    @property
    def rejection_thresholds(self) -> dict[str, float]:
        """Classification task to the probability below which a text counts as out of scope."""
        ...

    @property
    def record(self) -> TrainingRecord:
        """How the training run went."""
        ...


def finetune(job: JobSlice, *, datasets: Sequence[str], storage: str, processes: int | None = None) -> str:
    """Train `job` and publish its bundle, or find it done.

    Args:
        job: the model, the block's tasks and the seed.
        datasets: URIs of the ingested datasets that the tasks are asked of, in any order.
        storage: root of the run's storage.
        processes: that train together on this node; null takes one a visible GPU, and one where there is none.

    Returns:
        The job's URI, `<storage>/jobs/<job>/<fingerprint>`; its bundle lies in `bundle/` below.

    Raises:
        TrainingError: there is nothing to train on, or training went wrong.
    """
    with opened(datasets) as loaded:
        uri = job_uri(job, datasets=loaded, storage=storage)
        bundle = join(uri, "bundle")
        if is_complete(bundle):
            logger.info("reused job=%s bundle=%s", job.name, bundle)
            return uri
    workers = workers_wanted(job, processes=processes)
    if workers:
        launch(job, datasets=datasets, storage=storage, processes=workers)
    else:
        train_and_publish(job, datasets=datasets, storage=storage)
    return uri


def train_and_publish(job: JobSlice, *, datasets: Sequence[str], storage: str) -> None:
    """Train `job` in this process, which may be one of several; the first of them publishes.

    Raises:
        TrainingError: there is nothing to train on, or training went wrong.
    """
    with opened(datasets) as loaded, tempfile.TemporaryDirectory(prefix="taskmix-bundle-") as name:
        uri, folder = job_uri(job, datasets=loaded, storage=storage), Path(name)
        heads = job_heads(job, datasets=loaded)
        card = train_into(folder, job, datasets=loaded, heads=heads, checkpoints=join(uri, "checkpoints"))
        if (folder / CARD_FILE).is_file():
            publish(folder, join(uri, "bundle"), about={"kind": "bundle", "job": job.name})
            delete_prefix(join(uri, "checkpoints"))
            logger.info(
                "trained job=%s epochs=%.1f seconds=%.1f", job.name, card.training.epochs, card.training.seconds
            )


@contextmanager
def opened(uris: Sequence[str]) -> Iterator[dict[str, Dataset]]:
    """The datasets at `uris`, by name, while the context lasts."""
    with ExitStack() as stack:
        loaded = [load_dataset(stack.enter_context(local_copy(uri))) for uri in uris]
        yield {dataset.name: dataset for dataset in loaded}


def job_uri(job: JobSlice, *, datasets: Mapping[str, Dataset], storage: str) -> str:
    """Where `job` on these datasets lies.

    Raises:
        TrainingError: a dataset that a task is asked of was not given.
    """
    job_heads(job, datasets=datasets)
    return join(storage, "jobs", job.name, job_fingerprint(job, datasets=datasets))


def train_into(
    folder: Path,
    job: JobSlice,
    *,
    datasets: Mapping[str, Dataset],
    heads: dict[str, TaskHead],
    checkpoints: str,
) -> BundleCard:
    """Train `job` and write its bundle into the local `folder`; returns the card.

    Of several processes that train together, the first writes; in the others `folder` stays without a card.
    """
    train = job_mixture(job, datasets=datasets, split="train")
    dev = job_mixture(job, datasets=datasets, split="dev")
    if not len(train):
        raise TrainingError(f"job {job.name}: no row of {sorted(datasets)} carries a label of its tasks; check tasks.*")
    fitted = _fit(folder, job, train=train, dev=dev, heads=heads, checkpoints=checkpoints)
    card = BundleCard(
        kind=job.model.kind,
        job=job,
        heads=head_cards(heads),
        temperatures=fitted.temperatures,
        rejection_thresholds=fitted.rejection_thresholds,
        training=fitted.record,
        versions=installed_versions(),
    )
    if is_first():
        write_card(card, folder)
    return card


def _fit(
    folder: Path,
    job: JobSlice,
    *,
    train: Mixture,
    dev: Mixture,
    heads: dict[str, TaskHead],
    checkpoints: str,
) -> Fitted:
    """Train by the model's kind, and write the kind's own files into `folder`."""
    match job.model:
        case LinearModel():
            from taskmix.training.linear import fit_linear

            linear = fit_linear(job, train=train.rows, dev=dev.rows, heads=heads)
            linear.model.save(folder)
            return linear
        case EncoderModel():
            from taskmix.modeling.encoder import save_encoder
            from taskmix.training.encoder import fit_encoder

            encoder = fit_encoder(job, train=train, dev=dev, heads=heads, checkpoints=checkpoints)
            save_encoder(encoder.module, folder, tokenizer=encoder.tokenizer)
            return encoder
        case DecoderModel(tuning="none"):
            from taskmix.training.untuned import prepare_untuned

            return prepare_untuned(job, train=train.rows, dev=dev.rows, heads=heads, folder=folder)
        case DecoderModel(head="classifier"):
            from taskmix.modeling.encoder import save_encoder
            from taskmix.training.classifier import fit_classifier

            classifier = fit_classifier(job, train=train, dev=dev, heads=heads, checkpoints=checkpoints)
            save_encoder(classifier.module, folder, tokenizer=classifier.tokenizer)
            return classifier
        case DecoderModel():
            from taskmix.training.decoder import fit_decoder

            return fit_decoder(folder, job, train=train, dev=dev, heads=heads, checkpoints=checkpoints)
        case ApiModel():
            from taskmix.training.api import prepare_api

            return prepare_api(job, train=train.rows, heads=heads, folder=folder)


def job_heads(job: JobSlice, *, datasets: Mapping[str, Dataset]) -> dict[str, TaskHead]:
    """The label spaces of the job's tasks.

    Raises:
        TrainingError: a dataset that a task is asked of was not given.
    """
    for task, config in job.tasks.items():
        if config.dataset not in datasets or task not in datasets[config.dataset].label_spaces:
            raise TrainingError(
                f"job {job.name}: task '{task}' is asked of dataset '{config.dataset}', but the datasets given are "
                f"{ {name: list(dataset.label_spaces) for name, dataset in datasets.items()} }; ingest it with the task"
            )
    return {
        task: TaskHead(task, config.type, datasets[config.dataset].label_spaces[task])
        for task, config in job.tasks.items()
    }


def job_mixture(job: JobSlice, *, datasets: Mapping[str, Dataset], split: Split) -> Mixture:
    """The rows of `split` that carry labels of the job's tasks."""
    return make_mixture({name: datasets[name].rows(split) for name in job.datasets}, tasks=list(job.tasks))


def job_fingerprint(job: JobSlice, *, datasets: Mapping[str, Dataset]) -> str:
    """16 hex digits that stand for all that decides the job's result: slice, data, pretrained weights, code."""
    checkpoint = job.model.checkpoint if isinstance(job.model, EncoderModel | DecoderModel) else None
    return fingerprint(
        {
            "job": job.model_dump(mode="json"),
            "data": {task: datasets[config.dataset].task_hashes[task] for task, config in job.tasks.items()},
            "checkpoint": checkpoint_version(checkpoint) if checkpoint else None,
            "code": code_version(training_module(job.model)),
        }
    )


def training_module(model: ModelConfig) -> str:
    """The module of `taskmix.training` that makes the model's bundles; what it imports decides what they are."""
    match model:
        case DecoderModel(tuning="none"):
            return "untuned"
        case DecoderModel(head="classifier"):
            return "classifier"
        case _:
            return model.kind
