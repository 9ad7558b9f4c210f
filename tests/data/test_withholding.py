"""What a server says is told to people unless it quotes a text that it was shown."""

import json

import pytest

from taskmix.data.withholding import WITHHELD, without_quotes

TEXT = "please cancel the flight of Anna Kowalska to Kraków on friday"


@pytest.mark.parametrize(
    "words",
    [
        f"cannot answer: {TEXT}",
        'the prompt "…flight of  ANNA\nkowalska to…" was filtered',
        json.dumps({"error": TEXT}),
        json.dumps({"error": "no answer to \u004braków on friday"}),
    ],
)
def test_words_that_quote_a_text_are_withheld(words: str) -> None:
    told = without_quotes(words, texts=["another", TEXT])
    assert told == f"{WITHHELD}: the message quotes a text"


@pytest.mark.parametrize("words", ["no healthy upstream", "the flight has 300 tokens, 256 are allowed", ""])
def test_words_that_quote_none_are_told(words: str) -> None:
    assert without_quotes(words, texts=[TEXT, ""]) == words


def test_a_short_text_is_quoted_where_it_stands_whole_and_as_words_of_its_own() -> None:
    assert without_quotes("cannot answer 'he'", texts=["he"]).startswith(WITHHELD)
    assert without_quotes("the other: overheated", texts=["he"]) == "the other: overheated"
