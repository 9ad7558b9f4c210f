"""What is wrong with single keys: pydantic's errors in the words and paths of the person who wrote the file."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from taskmix.config.schema import Config
from taskmix.config.source import KeyPath, Problem
from taskmix.config.wording import did_you_mean, one_of, shown, unknown

_DISCRIMINATORS = ("format", "type", "kind")
_NEVER_SHOWN = ("key_env",)
"""Keys under which somebody may have written a secret that looks like none."""
_PLAIN_WORDS = {
    "dict_type": "a mapping of keys",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "tuple_type": "a list",
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "finite_number": "a finite number",
    "string_pattern_mismatch": "1 to 63 letters, digits, '-' and '_', the first a letter or digit",
}
_BOUNDS = {
    "greater_than": "more than",
    "greater_than_equal": "at least",
    "less_than": "less than",
    "less_than_equal": "at most",
}


def structural_problems(error: ValidationError, *, values: dict[str, Any]) -> list[Problem]:
    """Every problem that pydantic found in `values`, one a key."""
    alternatives: dict[KeyPath, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        alternatives.setdefault(_key_path(details["loc"], values), []).append(details)
    # Of a union's branches the one that got further into the value is the one that was meant.
    deepest = [path for path in alternatives if not any(path == other[: len(path)] != other for other in alternatives)]
    return [problem for path in deepest for problem in _tell(path, alternatives[path], values)]


def _tell(path: KeyPath, alternatives: Sequence[ErrorDetails], values: dict[str, Any]) -> list[Problem]:
    first = alternatives[0]
    context = first.get("ctx", {})
    match first["type"]:
        case "missing":
            allowed = _allowed_values(_type_at(path, values))
            return [Problem(path, "is missing" + (f"; allowed: {allowed}" if allowed else ""))]
        case "extra_forbidden":
            return [Problem(path, _unknown_key(path, values))]
        case "union_tag_invalid" | "union_tag_not_found":
            name = str(context["discriminator"]).strip("'")
            tags = [str(option) for option in _tags(_type_at(path, values), name)]
            if first["type"] == "union_tag_not_found":
                return [Problem((*path, name), f"is missing; allowed: {one_of(tags)}")]
            return [Problem((*path, name), unknown(str(context["tag"]), tags, what=name))]
        case "value_error":
            showable = isinstance(first["input"], str) and path[-1] not in _NEVER_SHOWN
            found = f"found {shown(first['input'])}; " if showable else ""
            return [Problem(path, f"{found}{first['msg'].removeprefix('Value error, ')}")]
        case "too_short":
            return [Problem(path, "is empty; allowed: at least one entry")]
    allowed = " or ".join(dict.fromkeys(_wanted(details) for details in alternatives))
    found = first["input"]
    near = ""
    if isinstance(found, str):
        near = did_you_mean(found, _literals(_type_at(path, values)))
    elif first["type"] == "string_type" and not isinstance(found, dict | list | None):
        near = "; put it in quotes to make it text"
    return [Problem(path, f"found {shown(found)}; allowed: {allowed}{near}")]


def _wanted(details: ErrorDetails) -> str:
    if details["type"] == "literal_error":
        return str(details["ctx"]["expected"]).replace(" or ", ", ").replace("'", "")
    if details["type"] in _BOUNDS:
        return f"{_BOUNDS[details['type']]} {next(iter(details['ctx'].values()))}"
    return _PLAIN_WORDS.get(details["type"], details["msg"].removeprefix("Input should be ").lower())


def _unknown_key(path: KeyPath, values: dict[str, Any]) -> str:
    key = str(path[-1])
    sections = _sections(_type_at(path[:-1], values), _value_at(path[:-1], values))
    names = [name for section in sections for name in section.model_fields]
    for section in sections:
        for name, field in section.model_fields.items():
            if any(key in inner.model_fields for inner in _sections(field.annotation, None)):
                return f"unknown key; it belongs under {name!r}"
    hint = ""
    if any(word in key.lower() for word in ("password", "secret", "token", "access_key", "api_key")):
        hint = "; secrets stay out of the file: use the environment, e.g. the standard AWS variables"
    return f"unknown key; allowed: {one_of(names)}{did_you_mean(key, names)}{hint}"


# --- walking the schema beside the values -----------------------------------------------------------------------------


def _key_path(loc: Sequence[str | int], values: dict[str, Any]) -> KeyPath:
    """The location that pydantic gives without the names of union branches and of `[key]`, which no file holds."""
    path: list[str | int] = []
    annotation: Any = Config
    rest = list(loc)
    while rest:
        if len(_options(annotation)) > 1:
            rest.pop(0)  # the branch: a discriminator's value or a type's name
            if not rest:
                break
        key = rest.pop(0)
        if key == "[key]":
            break
        annotation = _inner(annotation, key, _value_at(tuple(path), values))
        path.append(key)
    return tuple(path)


def _type_at(path: KeyPath, values: dict[str, Any]) -> Any:
    annotation: Any = Config
    for depth, key in enumerate(path):
        annotation = _inner(annotation, key, _value_at(path[:depth], values))
    return annotation


def _value_at(path: KeyPath, values: Any) -> Any:
    for key in path:
        try:
            values = values[key]
        except (KeyError, IndexError, TypeError):
            return None
    return values


def _options(annotation: Any) -> list[Any]:
    """The types of a union, null left out; one type alone is a union of one."""
    if get_origin(annotation) is Annotated:
        return _options(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [option for part in get_args(annotation) for option in _options(part)]
    return [] if annotation is type(None) else [annotation]


def _inner(annotation: Any, key: str | int, value: Any) -> Any:
    """The type of what lies under `key` in a value of the annotated type; null if the schema has no such key."""
    for section in _sections(annotation, value):
        if key in section.model_fields:
            return section.model_fields[str(key)].annotation
    for option in _options(annotation):
        if get_origin(option) is dict:
            return get_args(option)[1]
        if get_origin(option) is tuple and isinstance(key, int):
            return get_args(option)[0]
    return None


def _sections(annotation: Any, value: Any) -> list[type[BaseModel]]:
    """The models that the annotated type may be; those alone that the value's discriminator names, if it names any."""
    models = [option for option in _options(annotation) if isinstance(option, type) and issubclass(option, BaseModel)]
    named = [model for model in models if isinstance(value, dict) and _discriminated(model, value)]
    return named or models


def _discriminated(model: type[BaseModel], value: dict[str, Any]) -> bool:
    return any(name in model.model_fields and value.get(name) in _tags(model, name) for name in _DISCRIMINATORS)


def _tags(annotation: Any, name: str) -> list[Any]:
    models = _sections(annotation, None)
    return [tag for model in models for tag in _literals(model.model_fields[name].annotation)]


def _literals(annotation: Any) -> list[Any]:
    return [value for option in _options(annotation) if get_origin(option) is Literal for value in get_args(option)]


def _allowed_values(annotation: Any) -> str:
    """What may stand under a key that is missing, as far as a few words can say it."""
    words = {str: "text", int: "a whole number", float: "a number", tuple: "a list", dict: "a mapping of keys"}
    wanted = [words.get(get_origin(option) or option, "") for option in _options(annotation)]
    return " or ".join(filter(None, [*map(str, _literals(annotation)), *dict.fromkeys(wanted)]))
