"""Any Hugging Face encoder: one tiny random checkpoint of each family, fine-tuned and asked, from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers

from taskmix.config.plan import JobSlice
from taskmix.data.dataset import Dataset
from taskmix.errors import BundleError, TrainingError
from taskmix.modeling.bundle import load_model
from taskmix.training.job import finetune
from taskmix.training.scratch import train_tokenizer

SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": {**SIZE, "max_position_embeddings": 64},
    "roberta": {**SIZE, "max_position_embeddings": 66, "pad_token_id": 1},
    "xlm-roberta": {**SIZE, "max_position_embeddings": 66, "pad_token_id": 1},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "max_position_embeddings": 64},
    "electra": {**SIZE, "embedding_size": 16, "max_position_embeddings": 64},
    "deberta-v2": {**SIZE, "max_position_embeddings": 64, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "modernbert": {**SIZE, "max_position_embeddings": 64},
}


def make_checkpoint(family: str, folder: Path, *, texts: list[str]) -> Path:
    tokenizer = train_tokenizer(texts, vocabulary=400)
    config = transformers.AutoConfig.for_model(
        family, **{"pad_token_id": tokenizer.pad_token_id, **FAMILIES[family]}, vocab_size=len(tokenizer)
    )
    transformers.set_seed(1)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_job(checkpoint: Path, **recipe: Any) -> JobSlice:
    model = {
        "kind": "encoder",
        "checkpoint": str(checkpoint),
        "recipe": {"epochs": 1, "learning_rate": 1e-3, "tokens_per_batch": 512, "max_tokens": 32, **recipe},
    }
    tasks = {
        "intent": {"type": "classification", "dataset": "words", "label": "intent"},
        "slots": {"type": "slot_filling", "dataset": "words", "annotation": "slots"},
    }
    return JobSlice.model_validate({"model_name": "small", "seed": 3, "model": model, "tasks": tasks})


@pytest.mark.parametrize("family", FAMILIES)
def test_an_encoder_of_the_family_is_fine_tuned_merged_and_loads_from_its_bundle(
    family: str, dataset: Dataset, dataset_uri: str, tmp_path: Path
) -> None:
    texts = [row.text for row in dataset.rows("train")]
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint", texts=texts)
    job = finetune(make_job(checkpoint, precision="fp32"), datasets=[dataset_uri], storage=str(tmp_path / "storage"))
    model = load_model(Path(job) / "bundle")
    together = model.predict([*texts[:3], "", "word " * 200])
    alone = [model.predict([text])[0] for text in [*texts[:3], "", "word " * 200]]
    assert [answer["intent"].label for answer in together] == [answer["intent"].label for answer in alone]
    assert [answer["slots"].spans for answer in together] == [answer["slots"].spans for answer in alone]


def test_more_tokens_than_positions_is_refused_with_the_limit(
    dataset_uri: str, dataset: Dataset, tmp_path: Path
) -> None:
    texts = [row.text for row in dataset.rows("train")]
    checkpoint = make_checkpoint("roberta", tmp_path / "checkpoint", texts=texts)
    with pytest.raises(TrainingError, match="reads at most 64 tokens: set it to 64 or less"):
        finetune(make_job(checkpoint, max_tokens=65), datasets=[dataset_uri], storage=str(tmp_path / "storage"))


def test_pickled_weights_are_never_read(dataset_uri: str, dataset: Dataset, tmp_path: Path) -> None:
    checkpoint = make_checkpoint("bert", tmp_path / "checkpoint", texts=[row.text for row in dataset.rows("train")])
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    with pytest.raises(BundleError, match=r"no \*\.safetensors; pickled weights are not read"):
        finetune(make_job(checkpoint), datasets=[dataset_uri], storage=str(tmp_path / "storage"))


def test_frozen_embeddings_stay_as_they_were(dataset_uri: str, dataset: Dataset, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    checkpoint = make_checkpoint("bert", tmp_path / "checkpoint", texts=[row.text for row in dataset.rows("train")])
    job = make_job(checkpoint, freeze_embeddings=True)
    trained = finetune(job, datasets=[dataset_uri], storage=str(tmp_path / "storage"))
    before = load_file(checkpoint / "model.safetensors")
    after = load_file(Path(trained) / "bundle" / "model.safetensors")
    name = "embeddings.word_embeddings.weight"
    assert after[f"backbone.{name}"].equal(before[name])
    layer = "encoder.layer.0.attention.self.query.weight"
    assert not after[f"backbone.{layer}"].equal(before[layer])


def test_a_checkpoint_on_s3_is_fetched(swift: Any, dataset_uri: str, dataset: Dataset, tmp_path: Path) -> None:
    from taskmix import storage

    folder = make_checkpoint("bert", tmp_path / "checkpoint", texts=[row.text for row in dataset.rows("train")])
    store = storage.open_store(swift.uri)
    for path in folder.iterdir():
        store.upload(path, f"models/small/{path.name}")
    job = make_job(folder)
    model = job.model.model_copy(update={"checkpoint": f"{swift.uri}/models/small"})
    remote = job.model_copy(update={"model": model})
    trained = finetune(remote, datasets=[dataset_uri], storage=str(tmp_path / "storage"))
    assert load_model(Path(trained) / "bundle").predict(["hello"])[0]["intent"].label
