import re
from collections.abc import Callable
from itertools import chain

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline, make_union
from sklearn.svm import LinearSVC

from taskmix.data.dataset import Dataset
from taskmix.data.grammar import Example, Grammar, deal_templates, expand, load_grammar, write_examples
from taskmix.data.labels import parse_brackets
from taskmix.data.schema import SPLITS, Split
from taskmix.errors import DataError

SIZES: dict[Split, int] = {"train": 2400, "dev": 400, "test": 800}
TASKS = {
    "intent": {"type": "classification", "label": "intent"},
    "topic": {"type": "classification", "label": "topic"},
    "slots": {"type": "slot_filling", "annotation": "slots"},
}


@pytest.fixture(scope="module")
def grammar() -> Grammar:
    return load_grammar()


@pytest.fixture(scope="module")
def examples(grammar: Grammar) -> dict[Split, list[Example]]:
    return write_examples(grammar, sizes=SIZES, noise=0.08, seed=13)


def test_choices_expand_to_all_that_they_allow() -> None:
    assert expand("(turn|put) it (on|)") == ["turn it on", "turn it", "put it on", "put it"]
    assert expand("fly to {to_city}") == ["fly to {to_city}"]


def test_grammar_is_rich_enough_for_a_quickstart(grammar: Grammar) -> None:
    assert len(grammar.intents) >= 15
    assert len({intent.topic for intent in grammar.intents}) >= 6
    assert len(grammar.fillers) >= 10
    used = {slot for intent in grammar.intents for p in intent.patterns for slot in re.findall(r"\{(\w+)\}", p)}
    assert used == set(grammar.fillers)
    for slot, fillers in grammar.fillers.items():
        assert not set(fillers.common) & set(fillers.held_out), slot


def test_no_template_is_in_two_splits(grammar: Grammar) -> None:
    templates: dict[Split, set[str]] = {split: set() for split in SPLITS}
    for intent in grammar.intents:
        for split in SPLITS:
            dealt = [deal_templates(pattern, seed=13)[split] for pattern in intent.patterns]
            templates[split].update(chain(*dealt, *map(expand, intent.held_out[split])))
    assert not templates["train"] & templates["test"]
    assert not templates["train"] & templates["dev"]
    assert not templates["dev"] & templates["test"]


def test_examples_are_reproducible_and_all_different(grammar: Grammar, examples: dict[Split, list[Example]]) -> None:
    assert write_examples(grammar, sizes=SIZES, noise=0.08, seed=13) == examples
    assert write_examples(grammar, sizes=SIZES, noise=0.08, seed=14) != examples
    texts = [example.text for split in SPLITS for example in examples[split]]
    assert len(texts) == len(set(texts)) == 3600
    assert all(parse_brackets(example.annotated)[0] == example.text for example in chain(*examples.values()))


def test_noise_is_the_share_that_was_asked_for(grammar: Grammar) -> None:
    sizes: dict[Split, int] = {"train": 1500, "dev": 10, "test": 10}
    noisy = write_examples(grammar, sizes=sizes, noise=0.2, seed=1)["train"]
    openers = {word for phrase in (*grammar.openers, *grammar.closers) for word in phrase.split()}
    known = {
        word
        for intent in grammar.intents
        for pattern in intent.patterns
        for word in re.findall(r"[^\s(){}|]+", pattern)
    }
    known |= {
        word for fillers in grammar.fillers.values() for phrase in fillers.common for word in phrase.split()
    } | openers
    words = [word for example in noisy for word in example.text.split() if len(word) > 2]
    assert sum(word not in known for word in words) / len(words) == pytest.approx(0.19, abs=0.03)


def test_without_noise_every_label_is_right(grammar: Grammar) -> None:
    sizes: dict[Split, int] = {"train": 300, "dev": 10, "test": 10}
    slots = {
        intent.name: set(re.findall(r"\{(\w+)\}", " ".join((*intent.patterns, *chain(*intent.held_out.values())))))
        for intent in grammar.intents
    }
    for example in write_examples(grammar, sizes=sizes, noise=0.0, seed=1)["train"]:
        assert {slot for _, _, slot in parse_brackets(example.annotated)[1]} <= slots[example.intent]


def test_test_holds_fillers_that_train_has_not(grammar: Grammar, examples: dict[Split, list[Example]]) -> None:
    cities = grammar.fillers["to_city"].held_out
    train, test = (" ".join(e.text for e in examples[split]) for split in ("train", "test"))  # type: ignore[index]
    assert not [city for city in cities if city in train]
    assert [city for city in cities if city in test]


def test_linear_model_gets_neither_everything_nor_little(examples: dict[Split, list[Example]]) -> None:
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    model = make_pipeline(make_union(words, letters), LinearSVC(C=0.3, random_state=0))
    model.fit([e.text for e in examples["train"]], [e.intent for e in examples["train"]])
    accuracy = model.score([e.text for e in examples["test"]], [e.intent for e in examples["test"]])
    assert 0.85 <= accuracy <= 0.95


def test_more_examples_than_the_grammar_can_write_are_refused(grammar: Grammar) -> None:
    small = Grammar(
        intents=grammar.intents[:1],
        fillers={slot: type(fillers)(("x",), ("y",)) for slot, fillers in grammar.fillers.items()},
        held_out_patterns=0.0,
        held_out_fillers=0.0,
        openers=("hey",),
        closers=("please",),
        opener_share=0.0,
        closer_share=0.0,
    )
    with pytest.raises(
        DataError, match=r"generated train: the grammar cannot write 5000 different texts \(it ended at"
    ):
        write_examples(small, sizes={"train": 5000, "dev": 1, "test": 1}, noise=0.0, seed=1)


def test_generated_dataset_is_ingested_like_any_other(load: Callable[..., Dataset]) -> None:
    dataset = load({"format": "generated", "train": 1200, "dev": 200, "test": 300}, TASKS)
    assert {split: facts["rows"] for split, facts in dataset.card["splits"].items()} == {
        "train": 1200,
        "dev": 200,
        "test": 300,
    }
    assert (len(dataset.label_spaces["intent"]), len(dataset.label_spaces["topic"])) == (29, 8)
    assert dataset.card["checks"]["quarantined_rows"] == 0
    assert all(not found for task in TASKS for found in dataset.card["tasks"][task]["unknown_labels"].values())
    assert dataset.card["source"] == {"uri": None, "licence": "Apache-2.0", "citation": None}
