"""Numbers as the report writes them. Rounding happens here and nowhere else; `report.json` keeps every digit."""

from __future__ import annotations

from datetime import datetime

from taskmix.evaluation.intervals import Interval
from taskmix.evaluation.scorecard import Score

NONE = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def percent(value: float | None) -> str:
    """A share in percent with one decimal: `89.5`."""
    return NONE if value is None else f"{value * 100:.1f}"


def points(value: float | None) -> str:
    """A difference in percentage points, with its sign: `+0.4`."""
    if value is None:
        return NONE
    text = f"{value * 100:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", MINUS)


def points_apart(value: float | None) -> str:
    """A size in percentage points, without sign: `1.25`; two decimals at most, since margins are small."""
    return NONE if value is None else f"{round(value * 100, 2):g}"


def p_value(value: float | None) -> str:
    """A p-value: `0.032`, `< 0.001`."""
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def interval_text(interval: Interval | None) -> str:
    """An interval in percent: `88.4 to 90.6`."""
    return "" if interval is None else f"{interval.low * 100:.1f} to {interval.high * 100:.1f}"


def interval_points(interval: Interval | None) -> str:
    """An interval of a difference in percentage points: `+0.1 to +0.9`."""
    return "" if interval is None else f"{points(interval.low)} to {points(interval.high)}"


def score_text(score: Score | None) -> str:
    """A score with its interval: `89.5 (88.4 to 90.6)`."""
    if score is None or score.value is None:
        return NONE
    return f"{percent(score.value)} ({interval_text(score.interval)})" if score.interval else percent(score.value)


def milliseconds(value: float) -> str:
    """A time: `0.83 ms`, `12.1 ms`, `1.24 s`."""
    if value >= 1000:
        return f"{value / 1000:.2f} s"
    return f"{value:.1f} ms" if value >= 10 else f"{value:.2f} ms"


def seconds(value: float) -> str:
    """A duration: `0.4 s`, `42 s`, `5 min 3 s`, `2 h 10 min`."""
    whole = round(value)
    if value < 10:
        return f"{value:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def rate(value: float) -> str:
    """Texts a second: `8.4`, `1,240`."""
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def size(value: int) -> str:
    """Bytes in decimal units: `91.6 MB`."""
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def count(value: int) -> str:
    """A whole number with separators: `22,713,216`."""
    return f"{value:,}"


def usd(value: float | None) -> str:
    """Money: `$0.0042`, `$12.40`."""
    if value is None:
        return NONE
    return f"${value:.2f}" if value >= 1 or value == 0 else f"${value:.2g}"


def moment(value: str) -> str:
    """An ISO 8601 time for people: `2026-11-23 21:40 UTC`."""
    return datetime.fromisoformat(value).strftime("%Y-%m-%d %H:%M UTC")
