"""The count of money: what is set aside, what is spent, and who waits for whom."""

from __future__ import annotations

import threading

import pytest

from taskmix.errors import SpendingLimit
from taskmix.modeling.api.spending import Spending


def test_money_set_aside_counts_until_it_is_settled() -> None:
    spending = Spending(limit_usd=1.0, spent_usd=0.2, limited="job x")
    spending.reserve(0.7)
    waited = threading.Thread(target=spending.reserve, args=(0.5,))
    waited.start()
    waited.join(0.1)
    assert waited.is_alive(), "what is in flight may turn out cheaper, so a request waits for it"
    spending.settle(0.7, usd=0.1)
    waited.join(5)
    assert not waited.is_alive()
    spending.settle(0.5, usd=0.5)
    assert spending.spent_usd == pytest.approx(0.8)
    with pytest.raises(SpendingLimit, match=r"job x: .*0\.8 USD of spending_limit_usd 1 are spent.* up to 0\.3 USD"):
        spending.reserve(0.3)
    spending.reserve(0.2)


def test_no_limit_lets_everything_through() -> None:
    spending = Spending(limit_usd=None, limited="job x")
    spending.reserve(1e9)
    spending.settle(1e9, usd=1e9)
    assert spending.spent_usd == 1e9


@pytest.mark.parametrize("limit", [0.0, 0.05, 0.31, 1.0])
def test_many_threads_together_never_cross_the_limit(limit: float) -> None:
    """Each request may cost 0.05 and does cost between 0.01 and 0.05."""
    spending = Spending(limit_usd=limit, limited="job x")
    spent: list[float] = []

    def buy(number: int) -> None:
        try:
            spending.reserve(0.05)
        except SpendingLimit:
            return
        cost = 0.01 * (1 + number % 5)
        spent.append(cost)
        spending.settle(0.05, usd=cost)

    threads = [threading.Thread(target=buy, args=(number,)) for number in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(spent) <= limit + 1e-9
    assert limit - sum(spent) <= 0.05 or len(spent) == 60, "what can be bought is bought"
