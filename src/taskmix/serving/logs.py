"""The server's log as JSON lines: an object an event, for what collects logs in a cluster. Texts are never in it."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

REQUEST_LOG = "taskmix.serving.requests"
"""Logger of a line a request: protocol, status, number of texts, milliseconds. Silent unless asked for."""


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time (UTC), level, logger, event, and the fields of `extra={"fields": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        """See the class."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        event = {"time": time, "level": record.levelname, "logger": record.name, "event": record.getMessage()}
        if record.exc_info:
            event["error"] = self.formatException(record.exc_info)
        return json.dumps({**event, **getattr(record, "fields", {})}, ensure_ascii=False)
