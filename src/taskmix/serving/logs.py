"""The server's log: as JSON lines where asked for, an object an event; texts are never in it.

What a caught error says may quote a user's text, so its type and place are told and its message is not.
"""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime

REQUEST_LOG = "taskmix.serving.requests"
"""Logger of a line a request: protocol, status, milliseconds. Silent unless asked for."""
FRAMES_TOLD = 5


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time (UTC), level, logger, event, and the fields of `extra={"fields": {...}}`.

    An error that was caught adds `error`, its type, and `at`, its place.
    """

    def format(self, record: logging.LogRecord) -> str:
        """See the class."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        event = {"time": time, "level": record.levelname, "logger": record.name, "event": record.getMessage()}
        if (error := caught(record)) is not None:
            event |= {"error": type(error).__name__, "at": place_of(error)}
        return json.dumps({**event, **getattr(record, "fields", {})}, default=str)


class WithoutMessages(logging.Filter):
    """Puts type and place of a caught error in the line, in place of the traceback that ends in its message."""

    def filter(self, record: logging.LogRecord) -> bool:
        """See the class."""
        if (error := caught(record)) is not None:
            record.args = (record.getMessage().strip(), type(error).__name__, place_of(error))
            record.msg, record.exc_info, record.exc_text = "%s error=%s at=%s", None, None
        return True


def caught(record: logging.LogRecord) -> BaseException | None:
    """The error that a record tells of; null for most."""
    return record.exc_info[1] if record.exc_info else None


def place_of(error: BaseException) -> str:
    """Where an error was raised, the innermost call first."""
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    return " < ".join(reversed(frames[-FRAMES_TOLD:]))


def error_line(error: BaseException) -> str:
    """What `JsonLines` would write of an error that is told to people anyway, message and all."""
    record = logging.LogRecord("taskmix.serving", logging.ERROR, "", 0, str(error), None, None)
    return JsonLines().format(record)
