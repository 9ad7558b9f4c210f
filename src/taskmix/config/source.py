"""A configuration as it was written: YAML and `--set` overrides as one mapping that knows where each key stands.

What the keys may hold is not known here; `load` asks `schema` and `references` for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from taskmix.config.wording import did_you_mean, looks_secret

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top of the file, e.g. ("groupings", "voice", 0)."""
_AFTER_THE_FILE = 10**9
_TEXT_TAG = "tag:yaml.org,2002:str"
_MERGE_TAG = "tag:yaml.org,2002:merge"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and the key that it is wrong at."""

    path: KeyPath
    text: str
    place: str = ""
    """Where in the source, if `Source.place` cannot know, e.g. `line 7`."""


@dataclass
class Source:
    """What was written, before anything is known of its meaning."""

    name: str
    values: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, tuple[int, str]] = field(default_factory=dict)
    """Key path to (position to sort by, words for people)."""
    problems: list[Problem] = field(default_factory=list)
    """What is wrong with the writing itself: syntax, keys given twice, overrides that lead nowhere."""
    unreadable: bool = False
    """The writing has no meaning at all, so there is nothing to check in it."""

    def place(self, path: KeyPath) -> tuple[int, str]:
        """Where `path`, or the nearest section around it, stands: (position to sort by, e.g. `line 12`)."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return (0, "")

    def tell(self, problem: Problem) -> str:
        """The problem as one sentence: path, place, text."""
        dotted = ".".join("(secret)" if looks_secret(key) else str(key) for key in problem.path) or "the file"
        place = problem.place or self.place(problem.path)[1]
        return f"{dotted} ({place}): {problem.text}" if place else f"{dotted}: {problem.text}"


def read_source(path: Path) -> Source:
    """The YAML file at `path`; whatever is wrong with the writing is in `problems`."""
    source = Source(str(path))
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        source.problems.append(Problem((), "there is no such file"))
    except IsADirectoryError:
        source.problems.append(Problem((), "is a folder; name a YAML file"))
    except UnicodeDecodeError as error:
        source.problems.append(Problem((), f"is not UTF-8 (byte {error.start}); save it as UTF-8"))
    except OSError as error:
        source.problems.append(Problem((), f"cannot be read: {error.strerror}"))
    else:
        value = _parse(text, source=source)
        if isinstance(value, dict):
            source.values = _unshared(value)
        elif not source.problems:
            found = "nothing" if value is None else f"a {type(value).__name__}"
            source.problems.append(Problem((), f"found {found}; allowed: a mapping of keys, beginning with `name:`"))
    return source


def _unshared(value: Any) -> Any:
    """A copy in which what YAML aliases made one object is several: an override means one place only."""
    if isinstance(value, dict):
        return {key: _unshared(inner) for key, inner in value.items()}
    return [_unshared(inner) for inner in value] if isinstance(value, list) else value


def override(source: Source, assignment: str) -> None:
    """Write one `path.to.key=value` over the source; the value is read as YAML.

    The last key may be new (the schema judges it); the sections on the way must be there, or be the schema's own.
    """
    dotted, equals, text = assignment.partition("=")
    path: KeyPath = tuple(int(part) if part.isdecimal() else part for part in dotted.strip().split("."))
    place = f"--set {dotted.strip()}"
    if not equals or not all(str(part) for part in path):
        source.problems.append(Problem((), "allowed: path.to.key=value", place=f"--set {dotted}"))
        return
    scratch = Source("--set")
    value = _parse(text, source=scratch)
    if scratch.problems:
        hint = f"the value is no YAML: {scratch.problems[0].text}; quote it"
        source.problems.append(Problem(path, hint, place=place))
        return
    target = _section_around(source, path, place=place)
    if target is None:
        return
    key = path[-1]
    if isinstance(target, list):
        if not isinstance(key, int) or key >= len(target):
            source.problems.append(Problem(path, f"allowed: a position from 0 to {len(target) - 1}", place=place))
            return
        target[key] = value
    else:
        target[str(key)] = value
    for known in [known for known in source.places if known[: len(path)] == path]:
        del source.places[known]
    source.places[path] = (_AFTER_THE_FILE, place)


def _section_around(source: Source, path: KeyPath, *, place: str) -> dict[str, Any] | list[Any] | None:
    """The mapping or list that holds the last key of `path`; a section of the top level that is absent is made."""
    target: Any = source.values
    for depth, key in enumerate(path[:-1]):
        if isinstance(target, list) and isinstance(key, int) and key < len(target):
            target = target[key]
        elif isinstance(target, dict) and isinstance(target.get(str(key)), dict | list):
            target = target[str(key)]
        elif isinstance(target, dict) and (depth == 0 or path[0] in _SECTIONS_OF_SECTIONS) and str(key) not in target:
            return _absent_section(source, target, path, depth, place=place)
        else:
            source.problems.append(
                Problem(path[: depth + 1], "is no section, so nothing can be set in it", place=place)
            )
            return None
    return target if isinstance(target, dict | list) else None


_NAMED = {"datasets": "dataset", "tasks": "task", "models": "model", "hardware": "hardware", "groupings": "grouping"}
_SECTIONS_OF_SECTIONS = {*_NAMED, "gate", "evaluation", "deployment"}


def _absent_section(
    source: Source, target: dict[str, Any], path: KeyPath, depth: int, *, place: str
) -> dict[str, Any] | None:
    if depth == 1 and path[0] in _NAMED:
        names = [str(name) for name in target]
        text = f"there is no {_NAMED[str(path[0])]} {path[1]!r} to set this on{did_you_mean(str(path[1]), names)}"
        source.problems.append(Problem(path[:2], text, place=place))
        return None
    for position in range(depth, len(path) - 1):
        target = target.setdefault(str(path[position]), {})
        source.places[path[: position + 1]] = (_AFTER_THE_FILE, place)
    return target


def _parse(text: str, *, source: Source) -> Any:
    """The value of a YAML text; places and problems go into `source`."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        for path, line in _walk(node, (), (), source):
            source.places.setdefault(path, (line, f"line {line}"))
        return None if source.unreadable else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        source.problems.append(Problem((), f"is no YAML: {error.problem}", place=place))
    except (yaml.YAMLError, ValueError) as error:
        source.problems.append(Problem((), f"is no YAML: {str(error).splitlines()[0]}"))
    finally:
        loader.dispose()
    return None


def _walk(node: yaml.Node, path: KeyPath, around: Sequence[yaml.Node], source: Source) -> Iterator[tuple[KeyPath, int]]:
    """Every key path below `node` with its line; notes keys given twice and aliases of a section within itself.

    Keys become text as written: YAML 1.1 takes `on` for a truth value and `20` for a number.
    """
    if any(node is outer for outer in around):
        source.problems.append(Problem(path, "is an alias of a section around it; write it out"))
        source.unreadable = True
        return
    for key, child, line in _children(node, path, source):
        yield (*path, key), line
        yield from _walk(child, (*path, key), (*around, node), source)


def _children(node: yaml.Node, path: KeyPath, source: Source) -> Iterator[tuple[str | int, yaml.Node, int]]:
    if isinstance(node, yaml.SequenceNode):
        yield from ((position, child, child.start_mark.line + 1) for position, child in enumerate(node.value))
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key_node, child in node.value:
        line = key_node.start_mark.line + 1
        if key_node.tag == _MERGE_TAG:
            continue
        if not isinstance(key_node, yaml.ScalarNode):
            source.problems.append(Problem(path, "has a key that is no text", place=f"line {line}"))
            source.unreadable = True
            continue
        key_node.tag, key = _TEXT_TAG, key_node.value
        if key in seen:
            text = f"is given twice, here and in line {seen[key]}; keep one"
            source.problems.append(Problem((*path, key), text, place=f"line {line}"))
        else:
            yield key, child, line
        seen.setdefault(key, line)
