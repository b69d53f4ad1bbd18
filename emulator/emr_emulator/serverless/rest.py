"""EMR Serverless's REST protocol: requests are found and checked by botocore's model, answers have its shapes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import unquote

import botocore.session
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape
from werkzeug.wrappers import Request

from emr_emulator.protocol import ServiceError, complaints, without_nulls

SERVICE = "emr-serverless"
SIGNED_FOR = re.compile(r"Credential=[^/]+/\d+/([^/]+)/emr-serverless/aws4_request")
LABEL = re.compile(r"\\\{(\w+)\\\}")
CONTENT_TYPE = "application/json"


def validation(message: str) -> ServiceError:
    return ServiceError("ValidationException", message)


def not_found(message: str) -> ServiceError:
    return ServiceError("ResourceNotFoundException", message, status=404)


def conflict(message: str) -> ServiceError:
    return ServiceError("ConflictException", message, status=409)


@cache
def service_model() -> ServiceModel:
    return botocore.session.Session().get_service_model(SERVICE)


@cache
def _routes() -> list[tuple[str, re.Pattern[str], str]]:
    routes = []
    for name in service_model().operation_names:
        http = service_model().operation_model(name).http
        pattern = LABEL.sub(r"(?P<\1>[^/]+)", re.escape(http["requestUri"]))
        routes.append((http["method"], re.compile(pattern), name))
    return routes


def read_request(request: Request) -> tuple[OperationModel, dict[str, Any]]:
    """Parse and check a request; return its operation and parameters. Raises ServiceError."""
    raw = str(request.environ.get("RAW_URI", request.path)).partition("?")[0]  # an ARN in a path has an encoded slash
    routes = ((pattern.fullmatch(raw), name) for method, pattern, name in _routes() if method == request.method)
    found, name = next((route for route in routes if route[0]), (None, ""))
    if found is None:
        raise ServiceError("UnknownOperationException", f"EMR Serverless has no {request.method} {request.path}.", 404)
    operation = service_model().operation_model(name)
    shape = operation.input_shape
    params: dict[str, Any] = _body(request) if request.method in ("POST", "PATCH") else {}
    for member, value in found.groupdict().items():
        params[member] = unquote(value)
    if isinstance(shape, StructureShape):
        params |= _of_query(request, shape)
        faults = complaints(params, shape) or list(_mismatches(params, shape, ""))
        if faults:
            raise validation(f"{len(faults)} validation error(s) detected: {'; '.join(faults)}")
    return operation, params


def _mismatches(value: Any, shape: Shape, where: str) -> Iterator[str]:
    """Yield what does not match the pattern of its shape. botocore leaves that to the service."""
    if isinstance(shape, StructureShape):
        for name, member in value.items():
            yield from _mismatches(member, shape.members[name], f"{where}.{name}".lstrip("."))
    elif isinstance(shape, MapShape):
        for name, member in value.items():
            yield from _mismatches(name, shape.key, f"{where} (a key)")
            yield from _mismatches(member, shape.value, f"{where}.{name}")
    elif isinstance(shape, ListShape):
        for number, member in enumerate(value, 1):
            yield from _mismatches(member, shape.member, f"{where}.{number}.member")
    elif (pattern := shape.metadata.get("pattern")) and not re.fullmatch(pattern, value, re.DOTALL):
        fails = f"Value {value!r:.200} at {where!r} failed to satisfy constraint: Member must"
        yield f"{fails} satisfy regular expression pattern: {pattern}"


def _body(request: Request) -> dict[str, Any]:
    try:
        body = without_nulls(json.loads(request.get_data() or b"{}"))
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise ServiceError("SerializationException", f"The request is not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise ServiceError("SerializationException", "The request is not a JSON object.")
    return body


def _of_query(request: Request, shape: StructureShape) -> dict[str, Any]:
    """Return the members that the query string has, in the types of their shapes."""
    found: dict[str, Any] = {}
    for member, of in shape.members.items():
        if of.serialization.get("location") != "querystring":
            continue
        told = request.args.getlist(of.serialization.get("name", member))
        if told:
            found[member] = told if of.type_name == "list" else _typed(told[-1], of)
    return found


def _typed(text: str, shape: Shape) -> Any:
    if shape.type_name in ("integer", "long") and re.fullmatch(r"-?\d{1,18}", text):
        return int(text)
    if shape.type_name == "boolean" and text in ("true", "false"):
        return text == "true"
    return text


def write_answer(answer: dict[str, Any]) -> bytes:
    return json.dumps(without_nulls(answer)).encode()


def error_body(error: ServiceError) -> bytes:
    return json.dumps({"message": error.message}).encode()
