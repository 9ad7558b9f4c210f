from itertools import pairwise

import numpy as np
import pytest

from taskmix.modeling.tokens import TokenizedText
from taskmix.modeling.windows import WindowRule, cut_windows, join_labels, join_tags

RULE = WindowRule(max_tokens=10, before=1, after=1)
START, END = 101, 102


def text(tokens: int) -> TokenizedText:
    """A text of `tokens` tokens of its own, numbered from 1, between special ones."""
    return TokenizedText(np.array([START, *range(1, tokens + 1), END], np.int32), np.empty(0, np.int32))


def test_a_text_that_fits_is_one_window_as_it_stands() -> None:
    whole = text(8)

    (window,) = cut_windows(whole, rule=RULE)

    assert window.text is whole


@pytest.mark.parametrize("tokens", [9, 12, 13, 40, 41])
def test_windows_are_full_overlap_by_half_and_reach_both_ends(tokens: int) -> None:
    windows = cut_windows(text(tokens), rule=RULE)

    inner = [window.text.ids[1:-1].tolist() for window in windows]
    assert all(len(ids) == RULE.room == 8 for ids in inner)
    assert all((window.text.ids[0], window.text.ids[-1]) == (START, END) for window in windows)
    assert inner[0][0] == 1
    assert inner[-1][-1] == tokens
    assert all(0 < later[0] - earlier[0] <= 4 for earlier, later in pairwise(inner))
    assert {token for ids in inner for token in ids} == set(range(1, tokens + 1))


def test_a_token_takes_its_logits_from_the_window_where_it_stands_deepest() -> None:
    whole = text(12)
    windows = cut_windows(whole, rule=RULE)
    assert [window.start for window in windows] == [1, 5]
    logits = [np.full((10, 3), number, np.float32) for number in range(2)]

    joined = join_tags(windows, logits, tokens=len(whole), rule=RULE)

    # Token 5 is the 5th of the first window, 3 from its end, and the 1st of the second; token 7 is 1 from the one's
    # end and 2 from the other's start.
    assert joined[1:-1, 0].tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]


def test_a_label_is_told_by_the_mean_of_the_windows() -> None:
    assert join_labels([np.array([1, 3], np.float32), np.array([3, 5], np.float32)]).tolist() == [2, 4]
