"""Six-field cron as KFP's scheduler reads it; cases after the parser and the tests of robfig/cron 1.2."""

import re

import pytest

from taskmix.config.cron import cron_problem


@pytest.mark.parametrize(
    "expression",
    [
        "0 0 2 * * 1",
        "0 0 2 ? * MON-FRI",
        "0 0/15 * * * ?",
        "*/30 * * * * *",
        "0 30 6 1,15 jan-jun/2 *",
        "0 0 2 1 * sun",
        "0 5-59/5 0-23 * 12 6",
    ],
)
def test_what_kfp_takes_is_taken(expression: str) -> None:
    assert cron_problem(expression) is None


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("0 2 * * *", r"five fields.*first is seconds.*write 0 0 2 \* \* \*"),
        ("0 0 2 * *", r"write 0 0 0 2 \* \*"),
        ("@weekly", "no six fields.*0 0 2"),
        ("", "0 fields; allowed: six"),
        ("0 0 2 * * 1 2026", r"7 fields; allowed: six \(seconds, minutes"),
        ("CRON_TZ=Asia/Tokyo 0 0 2 * * 1", "7 fields"),
        ("60 0 2 * * 1", "seconds: '60' is not allowed; allowed: 0 to 59"),
        ("0 0 24 * * *", "hours: '24'"),
        ("0 0 2 0 * *", "day of month: '0' is not allowed; allowed: 1 to 31"),
        ("0 0 2 * * 7", "day of week: '7' is not allowed; allowed: 0 to 6 or SUN and so on"),
        ("0 0 2 * * L", "day of week: 'L'"),
        ("0 0 2 15W * *", "day of month: '15W'"),
        ("0 0 2 * foo *", "month: 'foo'.*1 to 12 or JAN"),
        ("0 0 2 * * 5-1", "'5-1' runs backwards"),
        ("0 */0 * * * *", "minutes: '\\*/0' has no whole number above 0"),
        ("0 0 2 -5 * *", "day of month: '-5' is not allowed"),
        ("0 0 2 1, * *", "day of month: '1,'|day of month: ''"),
        ("0 0 2 */2 * 1", "only where both hold"),
        ("0 0 2 1 * */2", "only where both hold"),
    ],
)
def test_what_would_not_fire_as_written_is_refused_with_the_remedy(expression: str, told: str) -> None:
    problem = cron_problem(expression)
    assert problem is not None
    assert re.search(told, problem), problem
