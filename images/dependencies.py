"""Print what some of the project's extras require, one requirement a line; run while an image is built.

    python3 images/dependencies.py pyproject.toml train pipeline

Dependencies so become a layer of their own, which a change of code leaves as it is: a release pushes and pulls a few
megabytes rather than gigabytes. Only Python's standard library: nothing is installed yet when it runs.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path


def requirements(project: dict[str, object], extras: list[str]) -> Iterator[str]:
    """The project's own dependencies and those of `extras`; an extra may name another one of the project's."""
    optional = project["optional-dependencies"]
    assert isinstance(optional, dict)
    assert isinstance(project["dependencies"], list)
    yield from project["dependencies"]
    waiting = list(extras)
    while waiting:
        for requirement in optional[waiting.pop()]:
            itself = re.fullmatch(rf"{project['name']}\[([\w,-]+)\]", requirement)
            if itself:
                waiting += itself[1].split(",")
            else:
                yield requirement


if __name__ == "__main__":
    path, *extras = sys.argv[1:]
    print("\n".join(requirements(tomllib.loads(Path(path).read_text())["project"], extras)))
