"""The Open Inference Protocol over gRPC: the same answers as over REST, on kserve's own messages.

kserve's servicer is not used, for the reasons that its routes are not (`server`); its repository calls stay closed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as stubs

from taskmix import __version__
from taskmix.errors import Overloaded, RequestError, ServingError
from taskmix.serving.endpoints import Endpoint, check_name, counted
from taskmix.serving.open_inference import input_types, output_types, parse_infer, render_infer
from taskmix.serving.predictor import Limits

CONTENTS = {"BYTES": "bytes_contents", "FP64": "fp64_contents", "BOOL": "bool_contents"}
"""Datatype to the field that holds a tensor's elements."""


class InferenceService(stubs.GRPCInferenceServiceServicer):  # type: ignore[misc]  # kserve has no types
    """The protocol's calls that ask; those that load or unload answer UNIMPLEMENTED, as the base class does."""

    def __init__(self, model: Endpoint, *, limits: Limits) -> None:
        self._model = model
        self._limits = limits

    async def ServerLive(self, request: Any, context: Any) -> Any:
        """Whether the server runs."""
        return messages.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Any) -> Any:
        """Whether the model answers."""
        return messages.ServerReadyResponse(ready=await self._model.healthy())

    async def ModelReady(self, request: Any, context: Any) -> Any:
        """Whether the model answers."""
        return await _told(context, lambda: self._ready(request))

    async def _ready(self, request: Any) -> Any:
        check_name(request.name, self._model)
        return messages.ModelReadyResponse(ready=await self._model.healthy())

    async def ServerMetadata(self, request: Any, context: Any) -> Any:
        """What the server is."""
        return messages.ServerMetadataResponse(name="taskmix", version=__version__)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:
        """The model's tensors."""
        return await _told(context, lambda: self._metadata(request))

    async def _metadata(self, request: Any) -> Any:
        check_name(request.name, self._model)
        tensor = messages.ModelMetadataResponse.TensorMetadata
        return messages.ModelMetadataResponse(
            name=self._model.name,
            platform="taskmix",
            inputs=[tensor(**kind) for kind in input_types()],
            outputs=[tensor(**kind) for kind in output_types(self._model.system.heads)],
        )

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        """Answer texts; see `open_inference`."""
        return await _told(context, lambda: counted("grpc", self._infer(request)))

    async def _infer(self, request: Any) -> Any:
        check_name(request.model_name, self._model)
        heads = self._model.system.heads
        body, binary = read_request(request)
        parsed = parse_infer(body, binary=binary, heads=heads, limits=self._limits)
        predictions, _ = await self._model(parsed.instances)
        return write_response(render_infer(predictions, parsed, name=self._model.name, heads=heads))


async def _told(context: Any, answering: Callable[[], Awaitable[Any]]) -> Any:
    """Answer, or abort the call with the status and message of what is wrong."""
    try:
        return await answering()
    except RequestError as error:
        code = grpc.StatusCode.NOT_FOUND if error.status == 404 else grpc.StatusCode.INVALID_ARGUMENT
        await context.abort(code, str(error))
    except Overloaded as error:
        await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
    except ServingError as error:
        await context.abort(grpc.StatusCode.INTERNAL, str(error))


def read_request(request: Any) -> tuple[dict[str, Any], bytes]:
    """A request message as the JSON that it would be over REST, and the binary data behind it.

    Raises:
        RequestError: there are raw contents for more tensors than one.
    """
    raw: Sequence[bytes] = request.raw_input_contents
    if len(raw) > 1:
        raise RequestError([f"raw_input_contents: found {len(raw)} tensors; allowed is the one of 'text'"])
    inputs = [_read_tensor(tensor, raw=raw[0] if raw else None) for tensor in request.inputs]
    body: dict[str, Any] = {"inputs": inputs, "parameters": _parameters(request.parameters)}
    if request.id:
        body["id"] = request.id
    if request.outputs:
        body["outputs"] = [{"name": output.name} for output in request.outputs]
    return body, raw[0] if raw else b""


def _read_tensor(tensor: Any, *, raw: bytes | None) -> dict[str, Any]:
    read = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
    if raw is not None:
        return {**read, "parameters": {"binary_data_size": len(raw)}}
    return {**read, "data": [_decoded(element, index) for index, element in enumerate(tensor.contents.bytes_contents)]}


def _decoded(element: bytes, index: int) -> str:
    try:
        return element.decode()
    except UnicodeDecodeError as error:
        where = f"inputs[0].contents.bytes_contents[{index}]"
        raise RequestError([f"{where}: found no UTF-8 (byte {error.start}); allowed is text in UTF-8"]) from None


def _parameters(parameters: Any) -> dict[str, Any]:
    """Each parameter's value, whichever of the message's fields holds it."""
    return {
        key: getattr(value, kind) for key, value in parameters.items() if (kind := value.WhichOneof("parameter_choice"))
    }


def write_response(response: dict[str, Any]) -> Any:
    """A response as REST gives it, as a message."""
    outputs = []
    for tensor in response["outputs"]:
        encode = tensor["datatype"] == "BYTES"
        data = [element.encode() for element in tensor["data"]] if encode else tensor["data"]
        contents = messages.InferTensorContents(**{CONTENTS[tensor["datatype"]]: data})
        outputs.append(
            messages.ModelInferResponse.InferOutputTensor(
                name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"], contents=contents
            )
        )
    return messages.ModelInferResponse(model_name=response["model_name"], id=response.get("id", ""), outputs=outputs)


async def start_grpc(model: Endpoint, *, limits: Limits, host: str, port: int) -> Any:
    """Start a gRPC server in the running event loop; `stop(grace)` it.

    Raises:
        ServingError: the port cannot be listened on.
    """
    server = grpc.aio.server(
        options=[("grpc.max_receive_message_length", limits.max_body_bytes), ("grpc.so_reuseport", 0)]
    )
    stubs.add_GRPCInferenceServiceServicer_to_server(InferenceService(model, limits=limits), server)
    try:
        server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise ServingError(f"port {port} of {host}: cannot be listened on for gRPC: {error}") from None
    await server.start()
    return server
