"""Rows as they are read: a counter on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

LINE_INTERVAL_S = 10.0
"""Seconds between plain lines; shorter reads print none. Arbitrary."""
_STRIDE = 500
"""Rows between looks at the clock. Arbitrary."""

Item = TypeVar("Item")


def show_progress(items: Iterable[Item], *, title: str) -> Iterator[Item]:
    """Yield the items unchanged, and tell on standard error how many have passed."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn(title), TextColumn("{task.completed:,.0f} rows"), TimeElapsedColumn())
    last_line = time.monotonic()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        for count, item in enumerate(items, start=1):
            yield item
            if count % _STRIDE:
                continue
            bar.update(task, completed=count)
            if bar.disable and time.monotonic() - last_line >= LINE_INTERVAL_S:
                last_line = time.monotonic()
                print(f"{title}  {count:,} rows", file=sys.stderr, flush=True)
