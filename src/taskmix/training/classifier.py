"""Fine-tuning a decoder with `head: classifier`: an encoder's training, on a causal model's last layer."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import set_seed

from taskmix.config.plan import JobSlice
from taskmix.config.schema import DecoderModel
from taskmix.data.mixture import Mixture
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.classifier import as_encoder_job
from taskmix.modeling.decoder import save_decoder
from taskmix.modeling.prompts import PromptSet
from taskmix.training.decoder_scratch import scratch_decoder
from taskmix.training.encoder import TrainedEncoder, fit_encoder


def fit_classifier(
    job: JobSlice, *, train: Mixture, dev: Mixture, heads: dict[str, TaskHead], checkpoints: str
) -> TrainedEncoder:
    """Fine-tune the causal model of `job` with new heads; see `fit_encoder`.

    Raises:
        TrainingError: the loss is not finite, or the recipe does not fit the model.
        BundleError: the pretrained checkpoint cannot be loaded.
    """
    with _starting_weights(job, train=train) as checkpoint:
        encoder_job = as_encoder_job(job, checkpoint=checkpoint)
        return fit_encoder(encoder_job, train=train, dev=dev, heads=heads, checkpoints=checkpoints)


@contextmanager
def _starting_weights(job: JobSlice, *, train: Mixture) -> Iterator[str]:
    """The checkpoint that training starts from; of random weights, a folder that is gone afterwards."""
    assert isinstance(job.model, DecoderModel)
    if job.model.architecture is None:
        assert job.model.checkpoint is not None
        yield job.model.checkpoint
        return
    set_seed(job.seed)
    texts = [row.text for row in train.rows]
    module, tokenizer = scratch_decoder(job.model.architecture, prompts=PromptSet(prompts=()), heads={}, texts=texts)
    with tempfile.TemporaryDirectory(prefix="taskmix-scratch-") as folder:
        save_decoder(module, Path(folder), tokenizer=tokenizer, prompts=PromptSet(prompts=()))
        yield folder
