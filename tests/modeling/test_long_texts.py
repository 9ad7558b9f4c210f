"""A tiny encoder on texts longer than it reads at once: cut by default, or by windows."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from tiny_bundles import TEXTS, publish_bundle

from taskmix.data.schema import split_words
from taskmix.modeling.answers import Model
from taskmix.modeling.bundle import CARD_FILE, load_model

LONG = " ".join(TEXTS[:20])
FITTING = TEXTS[0]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Model]:
    """The same weights, which read 32 tokens at once, with either way of answering long texts."""
    folder: Path = tmp_path_factory.mktemp("bundles")
    publish_bundle(str(folder / "cut"), seed=2)
    shutil.copytree(folder / "cut", folder / "windows")
    card = json.loads((folder / "windows" / CARD_FILE).read_text())
    card["job"]["model"]["recipe"]["long_texts"] = "windows"
    (folder / "windows" / CARD_FILE).write_text(json.dumps(card))
    return {name: load_model(folder / name, device="cpu") for name in ("cut", "windows")}


def test_a_text_that_fits_is_answered_the_same(models: Mapping[str, Model]) -> None:
    cut, windows = (models[name].predict([FITTING])[0] for name in ("cut", "windows"))

    assert windows["slots"] == cut["slots"]
    assert windows["intent"].probabilities.tolist() == cut["intent"].probabilities.tolist()


def test_windows_fill_slots_to_the_end_of_a_text_that_is_cut_otherwise(models: Mapping[str, Model]) -> None:
    cut, windows = (models[name].predict([LONG])[0]["slots"].spans for name in ("cut", "windows"))

    words = len(split_words(LONG))
    assert words > 80
    assert max(span.end for span in cut) < 35
    assert max(span.end for span in windows) > words - 10


def test_what_stands_behind_the_cut_changes_only_the_windows_answer(models: Mapping[str, Model]) -> None:
    other = LONG + " paris paris paris paris paris"

    def same(name: str) -> bool:
        left, right = models[name].predict([LONG, other])
        return bool((left["intent"].probabilities == right["intent"].probabilities).all())

    assert same("cut")
    assert not same("windows")


def test_long_and_short_texts_of_one_call_are_answered_as_alone(models: Mapping[str, Model]) -> None:
    texts = [LONG, FITTING, "", LONG[: len(LONG) // 2], *TEXTS[:3]]

    together = models["windows"].predict(texts)

    for text, answer in zip(texts, together, strict=True):
        (alone,) = models["windows"].predict([text])
        assert alone["slots"].spans == answer["slots"].spans
        assert alone["intent"].probabilities == pytest.approx(answer["intent"].probabilities, abs=1e-5)
