"""From a YAML file to a `Config`, or to one error that tells everything wrong with it.

The only way in for the command line and for the graph's builder; nothing here touches storage or the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from taskmix.config.references import reference_problems
from taskmix.config.schema import Config
from taskmix.config.source import Source, override, read_source
from taskmix.config.structure import structural_problems
from taskmix.errors import ConfigError


def load_config(path: str | Path, *, overrides: Sequence[str] = ()) -> Config:
    """The configuration in the YAML file at `path`.

    Args:
        path: a YAML file; folders that it names are relative to the current directory, and stay as written.
        overrides: `path.to.key=value` each, the value in YAML, written over the file in the order given.

    Raises:
        ConfigError: the file cannot be right; tells every problem at once, each with its path, its line, what was
            found, what is allowed and the nearest match.
    """
    source = read_source(Path(path))
    if not source.problems:
        for assignment in overrides:
            override(source, assignment)
    config = _check(source) if source.values else None
    if config is None or source.problems:
        problems = sorted(source.problems, key=lambda problem: source.place(problem.path)[0])
        raise ConfigError(source.name, list(dict.fromkeys(source.tell(problem) for problem in problems)))
    return config


def _check(source: Source) -> Config | None:
    """The configuration if its structure is right; every problem goes to `source.problems`."""
    config = None
    try:
        config = Config.model_validate(source.values)
    except ValidationError as error:
        source.problems += structural_problems(error, values=source.values)
    told = {problem.path for problem in source.problems}
    source.problems += [problem for problem in reference_problems(source.values) if problem.path not in told]
    return config
