"""`head: classifier` of a decoder: the last layer with one linear head a task. It writes nothing and reads no prompt.

Such a job is an encoder's whose text is read by its last token, so encoder code trains it and answers with it: what is
here says in an encoder's words what the configuration said in a decoder's.
"""

from __future__ import annotations

from taskmix.config.plan import JobSlice
from taskmix.config.schema import DecoderModel, EncoderModel, EncoderRecipe
from taskmix.modeling.bundle import BundleCard


def as_encoder_job(job: JobSlice, *, checkpoint: str) -> JobSlice:
    """The encoder's job that trains the classifier of `job`, from the pretrained weights at `checkpoint`."""
    assert isinstance(job.model, DecoderModel)
    shared = EncoderRecipe.model_fields.keys() & type(job.model.recipe).model_fields.keys()
    recipe = EncoderRecipe(**{name: getattr(job.model.recipe, name) for name in shared}, dropout=0.0)
    model = EncoderModel(kind="encoder", checkpoint=checkpoint, pooling="last", recipe=recipe)
    return job.model_copy(update={"model": model})


def as_encoder_card(card: BundleCard) -> BundleCard:
    """The card as an encoder's, to load the bundle by."""
    return card.model_copy(update={"job": as_encoder_job(card.job, checkpoint="in the bundle")})
