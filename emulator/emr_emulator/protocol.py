"""EMR's JSON 1.1 protocol: requests are checked against botocore's model, responses and errors have its shapes."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape
from botocore.validate import ParamValidator

TARGET_PREFIX = "ElasticMapReduce."
CONTENT_TYPE = "application/x-amz-json-1.1"


class ServiceError(Exception):
    """An error response of EMR."""

    def __init__(self, code: str, message: str, status: int = 400, error_code: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.error_code = error_code

    def body(self) -> bytes:
        answer = {"__type": self.code, "message": self.message, "Message": self.message}
        if self.error_code:
            answer["ErrorCode"] = self.error_code
        return json.dumps(answer).encode()


def validation_error(message: str) -> ServiceError:
    """The error of older operations (RunJobFlow, AddJobFlowSteps, TerminateJobFlows, ...) for a bad request."""
    return ServiceError("ValidationException", message)


def invalid_request(message: str) -> ServiceError:
    """The error of newer operations (Describe..., List..., CancelSteps, ...) for a bad request."""
    return ServiceError("InvalidRequestException", message, error_code="InvalidRequest")


@cache
def service_model() -> ServiceModel:
    return botocore.session.Session().get_service_model("emr")


def read_request(target: str, body: bytes) -> tuple[OperationModel, dict[str, Any]]:
    """Parse and check a request; return its operation and parameters. Raises ServiceError."""
    name = target.removeprefix(TARGET_PREFIX)
    model = service_model()
    if name not in model.operation_names:
        raise ServiceError("UnknownOperationException", f"EMR has no operation {name!r}.")
    operation = model.operation_model(name)
    try:
        params = without_nulls(json.loads(body or b"{}"))
        json.dumps(params, ensure_ascii=False, allow_nan=False).encode()  # no lone surrogates, no infinite numbers
    except (ValueError, RecursionError) as error:
        raise ServiceError("SerializationException", f"The request is not JSON: {error}.") from error
    if not isinstance(params, dict):
        raise ServiceError("SerializationException", "The request is not a JSON object.")
    if operation.input_shape is not None:
        try:
            faults = complaints(params, operation.input_shape)
        except (ArithmeticError, OSError, RuntimeError) as error:  # from botocore, for a timestamp out of range
            raise ServiceError("SerializationException", f"A timestamp is impossible: {error}.") from error
        if faults:
            what = "1 validation error" if len(faults) == 1 else f"{len(faults)} validation errors"
            raise validation_error(f"{what} detected: {'; '.join(faults)}")
    return operation, params


def write_answer(answer: dict[str, Any]) -> bytes:
    return json.dumps(without_nulls(answer)).encode()


def complaints(value: Any, shape: Shape) -> list[str]:
    """List the errors of a value: types, unknown and missing members, ranges, values of enumerations."""
    report = ParamValidator().validate(value, shape).generate_report()
    return report.splitlines() if report else list(_wrong_strings(value, shape, ""))


def _wrong_strings(value: Any, shape: Shape, where: str) -> list[str]:
    """Check enumerations and lengths of strings, which botocore's validator leaves to the service."""
    if isinstance(shape, StructureShape):
        return [
            fault
            for name, member in value.items()
            for fault in _wrong_strings(member, shape.members[name], f"{where}.{name}" if where else name)
        ]
    if isinstance(shape, ListShape):
        return [
            fault
            for number, member in enumerate(value, 1)
            for fault in _wrong_strings(member, shape.member, f"{where}.{number}.member")
        ]
    if isinstance(shape, MapShape):
        return [
            fault for name, member in value.items() for fault in _wrong_strings(member, shape.value, f"{where}.{name}")
        ]
    return _wrong_string(value, shape, where) if shape.type_name == "string" else []


def _wrong_string(value: str, shape: Shape, where: str) -> list[str]:
    allowed, longest = getattr(shape, "enum", None), shape.metadata.get("max")
    fails = f"Value {value!r:.200} at {where!r} failed to satisfy constraint: Member must"
    if allowed and value not in allowed:
        return [f"{fails} satisfy enum value set: [{', '.join(allowed)}]"]
    if shape.metadata.get("pattern") and any(letter < " " and letter not in "\r\n\t" for letter in value):
        return [f"{fails} satisfy regular expression pattern: {shape.metadata['pattern']}"]
    if longest is not None and len(value) > longest:
        return [f"{fails} have length less than or equal to {longest}"]
    return []


def without_nulls(value: Any) -> Any:
    """Drop members that are null: EMR treats them as absent."""
    if isinstance(value, dict):
        return {name: without_nulls(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [without_nulls(member) for member in value]
    return value
