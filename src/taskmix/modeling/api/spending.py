"""What requests cost, at most and in fact, and the limit that is not crossed.

Before an attempt is sent, the most that it can cost is set aside; when its answer has come, what it did cost takes that
place. An attempt whose answer never came (a timeout, a lost connection) may have been billed, so its share stays.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

from taskmix.config.schema import ApiModel, TokenPrices
from taskmix.errors import SpendingLimit

TOKENS_PER_MESSAGE = 16
"""What an endpoint's chat template may add to a message, at most; OpenAI's adds 3 to 4."""


def usd_of(prices: TokenPrices, *, input_tokens: float, output_tokens: float) -> float:
    """What so many tokens cost."""
    return (input_tokens * prices.input + output_tokens * prices.output) / 1e6


def most_usd(model: ApiModel, *, body: Mapping[str, Any]) -> float:
    """The most that one attempt of a request can cost.

    A token of a byte-level vocabulary is at least one byte, so a request (its JSON schema is read too) has no more
    tokens than bytes; the answer's are bounded by the request.
    """
    size = len(json.dumps(body, ensure_ascii=False).encode()) + TOKENS_PER_MESSAGE * len(body["messages"])
    return usd_of(model.usd_per_million_tokens, input_tokens=size, output_tokens=model.max_output_tokens)


class Spending:
    """The count of one job's money; shared by all threads that ask.

    Args:
        limit_usd: what may be spent; null sets no limit.
        spent_usd: what earlier runs of the job have spent.
        limited: what the limit is of, for the error.
    """

    def __init__(self, *, limit_usd: float | None, spent_usd: float = 0.0, limited: str) -> None:
        self.limit_usd, self.limited = limit_usd, limited
        self._spent, self._reserved, self._in_flight = spent_usd, 0.0, 0
        self._changed = threading.Condition()

    @property
    def spent_usd(self) -> float:
        """What has been paid, and what may have been."""
        with self._changed:
            return self._spent

    def reserve(self, usd: float) -> None:
        """Set `usd` aside; waits while attempts in flight may still turn out cheaper than what is set aside for them.

        Raises:
            SpendingLimit: it could cross the limit.
        """
        with self._changed:
            while self._crosses(usd) and self._in_flight:
                self._changed.wait()
            if self._crosses(usd):
                raise SpendingLimit(
                    f"{self.limited}: stopped before the spending limit: {self._spent:.6g} USD of "
                    f"spending_limit_usd {self.limit_usd:.6g} are spent, and the next request may cost up to "
                    f"{usd:.3g} USD; answers that are paid for are on storage: raise the limit and run again to go on"
                )
            self._reserved += usd
            self._in_flight += 1

    def settle(self, reserved_usd: float, *, usd: float) -> None:
        """An attempt is over that `reserved_usd` was set aside for: it cost `usd`."""
        with self._changed:
            self._reserved -= reserved_usd
            self._in_flight -= 1
            self._spent += usd
            self._changed.notify_all()

    def _crosses(self, usd: float) -> bool:
        # A float's error grows with the number of sums; a billionth of a dollar is far below any token's price.
        return self.limit_usd is not None and self._spent + self._reserved + usd > self.limit_usd + 1e-9
