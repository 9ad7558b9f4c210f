"""What follows from the paired tests: should a model's tasks be merged, and which system is worth its cost?

One sentence each for a reader who reads nothing else, and the numbers behind it. How the tests are made: `comparisons`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from taskmix.config.schema import Config
from taskmix.evaluation.comparisons import Contestant, Question, compare_family
from taskmix.evaluation.leaderboard import MeasuredSystem
from taskmix.evaluation.report.figures import interval_points, milliseconds, points, points_apart, size, usd
from taskmix.evaluation.report.model import Economy, MergeVerdict, PairedTest, SystemRow, Trade

Decision = Literal["merge", "keep apart", "undecided"]


def contestant(measured: MeasuredSystem) -> Contestant:
    """A measured system, to be compared."""
    return Contestant(measured.system.name, measured.answers, measured.scores)


def merge_verdicts(
    measured: Sequence[MeasuredSystem], *, rows: Mapping[str, SystemRow], config: Config
) -> tuple[MergeVerdict, ...]:
    """One verdict for each system of fewer jobs than its model's system with the most; all are one family of tests.

    Args:
        measured: all systems of the run.
        rows: name to its line of the leaderboard.
        config: margins and confidence.
    """
    pairs = list(_groupings_to_compare(measured))
    questions: list[Question] = [
        (contestant(merged), contestant(apart), task) for merged, apart in pairs for task in merged.answers
    ]
    tests = compare_family(questions, config=config)
    verdicts, start = [], 0
    for merged, apart in pairs:
        own = tests[start : start + len(merged.answers)]
        start += len(merged.answers)
        verdicts.append(_verdict(rows[merged.system.name], rows[apart.system.name], own))
    return tuple(verdicts)


def weigh_cost(measured: Sequence[MeasuredSystem], *, rows: Mapping[str, SystemRow], config: Config) -> Economy:
    """Which systems no other beats at their cost, and the cheapest that is not worse than the best.

    Args:
        measured: all systems, best first. Only those that cost less than the first are tested against it.
        rows: name to its line of the leaderboard.
        config: margins and confidence.
    """
    best = contestant(measured[0])
    priced = all(row.usd_per_million_texts is not None for row in rows.values())
    measure: Literal["usd_per_million_texts", "p50_ms"] = "usd_per_million_texts" if priced else "p50_ms"
    costs = {name: _cost(row, measure=measure) for name, row in rows.items()}
    cheaper = [contestant(one) for one in measured[1:] if costs[one.system.name] < costs[best.name]]
    tests = compare_family([(one, best, task) for one in cheaper for task in one.answers], config=config)
    not_worse = [best.name, *_shown_not_worse(tests)]
    cheapest = min(not_worse, key=lambda name: costs[name]) if _all_have_margins(tests) else None
    return Economy(
        cost=measure,
        frontier=_frontier(list(rows.values()), costs=costs),
        cheapest=cheapest,
        sentence=_economy_sentence(cheapest, best=best.name, rows=rows, measure=measure),
        tests=tests,
    )


def _groupings_to_compare(measured: Sequence[MeasuredSystem]) -> list[tuple[MeasuredSystem, MeasuredSystem]]:
    """Each system of fewer jobs with its model's system of the most, in the order of the configuration's models."""
    models: dict[str, list[MeasuredSystem]] = {}
    for one in measured:
        models.setdefault(one.system.model, []).append(one)
    pairs = []
    for systems in models.values():
        apart = max(systems, key=lambda one: len(one.system.jobs))
        pairs += [(one, apart) for one in systems if len(one.system.jobs) < len(apart.system.jobs)]
    return pairs


def _verdict(merged: SystemRow, apart: SystemRow, tests: tuple[PairedTest, ...]) -> MergeVerdict:
    decision = _decide(tests)

    def trade(name: str) -> Trade:
        return Trade(merged=getattr(merged, name), apart=getattr(apart, name))

    return MergeVerdict(
        model=merged.model,
        merged=merged.name,
        apart=apart.name,
        verdict=decision,
        sentence=_merge_sentence(decision, merged, apart, tests),
        tests=tests,
        jobs=Trade(merged=len(merged.jobs), apart=len(apart.jobs)),
        p50_ms=Trade(merged=merged.speed.p50_ms, apart=apart.speed.p50_ms),
        texts_per_s=Trade(merged=merged.speed.texts_per_s, apart=apart.speed.texts_per_s),
        bytes=trade("bytes"),
        training_seconds=trade("training_seconds"),
        training_usd=trade("training_usd"),
        usd_per_million_texts=trade("usd_per_million_texts"),
    )


def _decide(tests: Sequence[PairedTest]) -> Decision:
    """Merging must be shown to harm no task; one task shown to be harmed is enough to keep apart."""
    outcomes = {test.outcome for test in tests}
    if "worse" in outcomes:
        return "keep apart"
    return "undecided" if "undecided" in outcomes else "merge"


def _merge_sentence(decision: Decision, merged: SystemRow, apart: SystemRow, tests: Sequence[PairedTest]) -> str:
    models = f"{_count(len(merged.jobs), merged.model)} ({merged.name}) instead of {len(apart.jobs)} ({apart.name})"
    if decision == "merge":
        told = ", ".join(_loss(test) for test in tests)
        return f"Merge: {models} is not worse on any task by more than its margin ({told}); {_gain(merged, apart)}."
    harmed = [test for test in tests if test.outcome == "worse"]
    if decision == "keep apart":
        told = ", ".join(f"{test.task} {points(test.difference)} points ({_range(test)})" for test in harmed)
        return (
            f"Keep apart: {models} loses on {told}, which chance does not explain and no margin is shown to cover; "
            f"merging would give {_gain(merged, apart)}."
        )
    open_tests = [test for test in tests if test.outcome == "undecided"]
    told = "; ".join(_doubt(test) for test in open_tests)
    gain = f"What merging would give: {_gain(merged, apart)}."
    return f"Undecided: whether {models} does harm cannot be told for {told}. {gain}"


def _loss(test: PairedTest) -> str:
    if test.shared:
        return f"{test.task} answered by the same model"
    return f"{test.task} {points(test.difference)} points, margin {points_apart(test.margin)}"


def _doubt(test: PairedTest) -> str:
    """One undecided task with the smallest margin that could have been shown."""
    if test.difference is None:
        return f"{test.task}, whose score is undefined"
    least = (
        ""
        if test.detectable_margin is None
        else f", the smallest this test set can show is {points_apart(test.detectable_margin)}"
    )
    margin = "no margin is set" if test.margin is None else f"the margin is {points_apart(test.margin)}"
    return f"{test.task} ({points(test.difference)} points, {_range(test)}; {margin}{least})"


def _range(test: PairedTest) -> str:
    return f"interval {interval_points(test.interval)}" if test.interval else "no interval"


def _gain(merged: SystemRow, apart: SystemRow) -> str:
    """Time, size and cost of both."""
    told = [
        f"{milliseconds(merged.speed.p50_ms)} a text instead of {milliseconds(apart.speed.p50_ms)}",
        f"{size(merged.bytes)} instead of {size(apart.bytes)}",
    ]
    if merged.usd_per_million_texts is not None and apart.usd_per_million_texts is not None:
        told.append(
            f"{usd(merged.usd_per_million_texts)} a million texts instead of {usd(apart.usd_per_million_texts)}"
        )
    return ", ".join(told)


def _count(number: int, model: str) -> str:
    return f"one {model} model" if number == 1 else f"{number} {model} models"


def _shown_not_worse(tests: Sequence[PairedTest]) -> list[str]:
    by_system: dict[str, list[PairedTest]] = {}
    for test in tests:
        by_system.setdefault(test.system, []).append(test)
    return [name for name, own in by_system.items() if all(test.outcome == "not worse" for test in own)]


def _all_have_margins(tests: Sequence[PairedTest]) -> bool:
    return all(test.margin is not None for test in tests)


def _cost(row: SystemRow, *, measure: Literal["usd_per_million_texts", "p50_ms"]) -> float:
    found = row.usd_per_million_texts if measure == "usd_per_million_texts" else row.speed.p50_ms
    assert found is not None
    return found


def _frontier(rows: Sequence[SystemRow], *, costs: Mapping[str, float]) -> tuple[str, ...]:
    """Walk from the cheapest to the dearest and keep each that is better than all before it."""
    defined = [(costs[row.name], -row.ranked.value, row.name) for row in rows if row.ranked.value is not None]
    kept: list[str] = []
    highest = float("-inf")
    for _, negative, name in sorted(defined):
        if -negative > highest:
            kept.append(name)
            highest = -negative
    return tuple(kept)


def _economy_sentence(
    cheapest: str | None,
    *,
    best: str,
    rows: Mapping[str, SystemRow],
    measure: Literal["usd_per_million_texts", "p50_ms"],
) -> str:
    if len(rows) == 1:
        return f"{best} is the only system, so its cost has nothing to be weighed against."
    if cheapest is None:
        return (
            f"Which system is cheapest without being worse than {best} cannot be said: evaluation.margins sets no "
            "margin for every task's score."
        )
    cost = _told_cost(rows[cheapest], measure=measure)
    if cheapest == best and min(rows.values(), key=lambda row: _cost(row, measure=measure)).name == best:
        return f"{best} is the best system and the cheapest ({cost})."
    if cheapest == best:
        return f"No cheaper system is shown to be not worse than the best, {best} ({cost}), by more than the margins."
    return (
        f"{cheapest} is the cheapest system shown to be not worse than the best, {best}, by more than the margin on "
        f"any task: {cost} instead of {_told_cost(rows[best], measure=measure)}."
    )


def _told_cost(row: SystemRow, *, measure: Literal["usd_per_million_texts", "p50_ms"]) -> str:
    value = _cost(row, measure=measure)
    return f"{usd(value)} a million texts" if measure == "usd_per_million_texts" else f"{milliseconds(value)} a text"
