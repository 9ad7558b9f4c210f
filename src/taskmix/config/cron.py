"""What KFP's scheduler takes as a time: six fields, seconds first, in the grammar of Go's `robfig/cron` 1.2.

KFP's API server and its scheduled-workflow controller both parse with that version (`cron.Parse`). It takes five
fields too, and reads the first as seconds, so that a crontab's `0 2 * * *` fires every hour; those are refused here.
"""

from __future__ import annotations

from dataclasses import dataclass

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
EXAMPLE = "0 0 2 * * 1"
"""Mondays at two."""
_STEPPED = ("*/", "?/")


@dataclass(frozen=True)
class _Field:
    name: str
    least: int
    most: int
    names: dict[str, int]


_FIELDS = (
    _Field("seconds", 0, 59, {}),
    _Field("minutes", 0, 59, {}),
    _Field("hours", 0, 23, {}),
    _Field("day of month", 1, 31, {}),
    _Field("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, start=1)}),
    _Field("day of week", 0, 6, {name: number for number, name in enumerate(_DAYS)}),
)


def cron_problem(expression: str) -> str | None:
    """What is wrong with a cron expression, with what is allowed; None where KFP takes it and means what it says."""
    parts = expression.split()
    if expression.startswith("@"):
        return f"has no six fields; write them out, seconds first, e.g. {EXAMPLE}"
    if len(parts) == 5:
        return (
            "has five fields; KFP's cron has six, the first is seconds, so this would fire at other times than a "
            f"crontab: write 0 {' '.join(parts)}"
        )
    if len(parts) != len(_FIELDS):
        names = ", ".join(field.name for field in _FIELDS)
        return f"has {len(parts)} field{'' if len(parts) == 1 else 's'}; allowed: six ({names}), e.g. {EXAMPLE}"
    for field, part in zip(_FIELDS, parts, strict=True):
        if fault := _field_problem(part, field):
            return f"{field.name}: {fault}"
    day, weekday = parts[3], parts[5]
    if (day[:2] in _STEPPED and weekday[0] not in "*?") or (weekday[:2] in _STEPPED and day[0] not in "*?"):
        return (
            f"day of month '{day}' together with day of week '{weekday}': a crontab would fire on either, KFP only "
            "where both hold; give one of them"
        )
    return None


def _field_problem(part: str, field: _Field) -> str | None:
    for item in part.split(","):
        bounds, slash, step = item.partition("/")
        if slash and (not step.isdecimal() or int(step) == 0):
            return f"'{item}' has no whole number above 0 after '/'"
        if bounds in ("*", "?"):
            continue
        low, dash, high = bounds.partition("-")
        for value in (low, high) if dash else (low,):
            if _number(value, field) is None:
                return f"'{value or item}' is not allowed; allowed: {_allowed(field)}, '*', a-b, /step, and commas"
        if dash and (_number(low, field) or 0) > (_number(high, field) or 0):
            return f"'{item}' runs backwards; put the smaller first"
    return None


def _number(text: str, field: _Field) -> int | None:
    number = field.names.get(text.lower(), int(text) if text.isdecimal() else -1)
    return number if field.least <= number <= field.most else None


def _allowed(field: _Field) -> str:
    names = f" or {min(field.names, key=field.names.__getitem__).upper()} and so on" if field.names else ""
    return f"{field.least} to {field.most}{names}"
