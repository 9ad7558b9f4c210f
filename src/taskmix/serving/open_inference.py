"""The Open Inference Protocol (KServe's V2) for text: tensors in and out, as JSON or with the binary tensor extension.

A request has one BYTES tensor `text` of shape [n] or [n, 1], and asks tasks by `parameters: {"tasks": "intent,slots"}`
(all without it), the k most probable labels by `"top_k": 3`. The answer has, for each classification task,
`<task>.label` (BYTES), `<task>.probability` (FP64), `<task>.in_scope` (BOOL) and, where asked, `<task>.top` (BYTES: a
text's labels as one JSON array), and for each slot filling task `<task>.slots` (BYTES: its slots as one JSON array).
Pure, as `predictor` is. Source: https://github.com/kserve/open-inference-protocol
"""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taskmix.errors import RequestError
from taskmix.modeling.answers import TaskHead
from taskmix.serving.predictor import (
    Instance,
    Limits,
    Prediction,
    kind_of,
    make_instance,
    refuse,
    show,
    task_faults,
    text_faults,
    top_k_faults,
)

TEXT = "text"


@dataclass(frozen=True)
class InferRequest:
    """A V2 request; valid.

    Attributes:
        id: the caller's own name of the request; null where he gave none.
        instances: all ask the same tasks.
        outputs: names of the tensors that he wants; null wants all.
    """

    id: str | None
    instances: tuple[Instance, ...]
    outputs: tuple[str, ...] | None


def parse_infer(body: object, *, binary: bytes, heads: Mapping[str, TaskHead], limits: Limits) -> InferRequest:
    """The instances of a V2 request.

    Args:
        body: the request's JSON, whatever it holds.
        binary: what follows the JSON in the HTTP body; empty without the binary tensor extension.
        heads: the tasks that can be asked.
        limits: on the number and length of texts.

    Raises:
        RequestError: with all that is wrong: where, what was found, what is allowed.
    """
    if not isinstance(body, dict):
        raise RequestError([f'the body: found {kind_of(body)}; allowed is an object {{"inputs": [...]}}'])
    tensor = _text_tensor(body.get("inputs"))
    texts = _texts(tensor, binary=binary, limits=limits)
    tasks, top_k = _asked(body.get("parameters"))
    faults = [
        fault for index, text in enumerate(texts) for fault in text_faults(text, f"inputs[0].data[{index}]", limits)
    ]
    faults += task_faults(tasks, "parameters.tasks", heads) + top_k_faults(top_k, "parameters.top_k")
    faults += (
        [] if isinstance(body.get("id"), str | None) else [f"id: found {kind_of(body['id'])}; allowed is a string"]
    )
    refuse(faults)
    instances = tuple(make_instance({"text": text, "tasks": tasks, "top_k": top_k}, heads) for text in texts)
    outputs = _outputs(body.get("outputs"), tasks=tasks or list(heads), heads=heads, top=top_k is not None)
    return InferRequest(body.get("id"), instances, outputs)


def render_infer(
    predictions: Sequence[Prediction], request: InferRequest, *, name: str, heads: Mapping[str, TaskHead]
) -> dict[str, Any]:
    """The V2 response to `request`."""
    tasks = request.instances[0].tasks if request.instances else tuple(heads)
    top = bool(request.instances) and request.instances[0].top_k is not None
    tensors = [
        tensor
        for task in tasks
        for tensor in _tensors(_tensor_types(task, heads[task].type, top=top), [row[task] for row in predictions])
    ]
    wanted = [tensor for tensor in tensors if request.outputs is None or tensor["name"] in request.outputs]
    head = {"model_name": name} if request.id is None else {"model_name": name, "id": request.id}
    return {**head, "outputs": wanted}


def input_types() -> list[dict[str, Any]]:
    """The tensors that a request has, for the model's metadata; -1 is any number."""
    return [{"name": TEXT, "datatype": "BYTES", "shape": [-1]}]


def output_types(heads: Mapping[str, TaskHead]) -> list[dict[str, Any]]:
    """The tensors that a response has, for the model's metadata; -1 is any number."""
    return [
        {"name": name, "datatype": datatype, "shape": [-1]}
        for task, head in heads.items()
        for name, datatype in _tensor_types(task, head.type).items()
    ]


def _tensor_types(task: str, kind: str, *, top: bool = False) -> dict[str, str]:
    """Name to datatype, in the order of the answer's own keys."""
    if kind == "slot_filling":
        return {f"{task}.slots": "BYTES"}
    types = {f"{task}.label": "BYTES", f"{task}.probability": "FP64", f"{task}.in_scope": "BOOL"}
    return {**types, f"{task}.top": "BYTES"} if top else types


def _tensors(types: Mapping[str, str], answers: Sequence[Any]) -> list[dict[str, Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in types}
    for answer in answers:
        row = [answer] if isinstance(answer, list) else answer.values()
        for column, value in zip(columns.values(), row, strict=True):
            column.append(json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value)
    return [
        {"name": name, "datatype": types[name], "shape": [len(data)], "data": data} for name, data in columns.items()
    ]


def _text_tensor(inputs: object) -> dict[str, Any]:
    allowed = 'allowed is one tensor {"name": "text", "datatype": "BYTES", "shape": [n], "data": [...]}'
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise RequestError([f"inputs: found {kind_of(inputs)}; {allowed}"])
    tensor: dict[str, Any] = inputs[0]
    faults = [
        f"inputs[0].{key}: found {show(tensor.get(key))}; {allowed}"
        for key, value in (("name", TEXT), ("datatype", "BYTES"))
        if tensor.get(key) != value
    ]
    refuse(faults)
    return tensor


def _texts(tensor: Mapping[str, Any], *, binary: bytes, limits: Limits) -> list[Any]:
    """The tensor's elements, one a text, checked but for being texts."""
    count = _count(tensor.get("shape"), limits=limits)
    texts = _decode(tensor, binary) if "data" not in tensor and binary else tensor.get("data")
    if not isinstance(texts, list):
        raise RequestError([f"inputs[0].data: found {kind_of(texts)}; allowed is an array of {count} strings"])
    if len(tensor["shape"]) == 2 and all(isinstance(row, list) and len(row) == 1 for row in texts):
        texts = [row[0] for row in texts]  # the protocol allows both [["a"], ["b"]] and ["a", "b"] for shape [2, 1]
    if len(texts) != count:
        raise RequestError([f"inputs[0].data: found {len(texts)} elements; allowed are the {count} that 'shape' says"])
    return texts


def _count(shape: object, *, limits: Limits) -> int:
    """The number of texts by the tensor's shape."""
    numbers = shape if isinstance(shape, list) else []
    valid = all(type(number) is int and number >= 0 for number in numbers)
    if not numbers or not valid or len(numbers) > 2 or numbers[1:] not in ([], [1]):
        found = numbers[:4] if numbers and valid else kind_of(shape)
        raise RequestError([f"inputs[0].shape: found {found}; allowed is [n] or [n, 1]"])
    if numbers[0] > limits.max_instances:
        fault = f"inputs[0].shape: found {numbers[0]} texts; allowed are {limits.max_instances}: send several requests"
        raise RequestError([fault], status=413)
    return int(numbers[0])


def _decode(tensor: Mapping[str, Any], binary: bytes) -> list[str]:
    """Texts of the binary tensor extension: each four bytes of length, little-endian, and so many of UTF-8."""
    parameters = tensor.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    where = "the binary data of inputs[0]"
    if size != len(binary):
        raise RequestError([f"{where}: found {len(binary)} bytes; allowed is what 'parameters.binary_data_size' says"])
    texts, offset = [], 0
    while offset < len(binary):
        try:
            (length,) = struct.unpack_from("<I", binary, offset)
            raw = binary[offset + 4 : offset + 4 + length]
            if len(raw) != length:
                raise struct.error
            texts.append(raw.decode())
        except (struct.error, UnicodeDecodeError):
            allowed = "allowed is, for each text, four bytes of its length (little-endian) and its UTF-8"
            raise RequestError([f"{where}: text {len(texts)} cannot be read; {allowed}"]) from None
        offset += 4 + length
    return texts


def _asked(parameters: object) -> tuple[list[str] | None, object]:
    """The tasks asked and `top_k`; the protocol's parameters are single values, so tasks are parted by commas."""
    if parameters is None:
        return None, None
    if not isinstance(parameters, dict):
        raise RequestError([f"parameters: found {kind_of(parameters)}; allowed is an object"])
    tasks, top_k = parameters.get("tasks"), parameters.get("top_k")
    if tasks is None:
        return None, top_k
    if not isinstance(tasks, str):
        raise RequestError([f"parameters.tasks: found {kind_of(tasks)}; allowed is a string, tasks parted by commas"])
    return [task.strip() for task in tasks.split(",")], top_k


def _outputs(
    outputs: object, *, tasks: Collection[str], heads: Mapping[str, TaskHead], top: bool
) -> tuple[str, ...] | None:
    if outputs is None or outputs == []:
        return None
    names = {name for task in tasks for name in _tensor_types(task, heads[task].type, top=top)}
    if not isinstance(outputs, list):
        raise RequestError([f'outputs: found {kind_of(outputs)}; allowed is an array of {{"name": ...}}'])
    wanted = [output.get("name") if isinstance(output, dict) else None for output in outputs]
    refuse(
        [
            f"outputs[{index}].name: found {show(name)}; allowed are {sorted(names)}"
            for index, name in enumerate(wanted)
            if not isinstance(name, str) or name not in names
        ]
    )
    return tuple(str(name) for name in wanted)
