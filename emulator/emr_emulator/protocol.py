"""EMR's wire: JSON 1.1 requests checked against botocore's model of the service, answers and errors in its shapes."""

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
    """An answer that is an error, as EMR would give it."""

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
    """What the older operations (RunJobFlow, AddJobFlowSteps, TerminateJobFlows, ...) answer to a bad request."""
    return ServiceError("ValidationException", message)


def invalid_request(message: str) -> ServiceError:
    """What the newer operations (Describe..., List..., CancelSteps, ...) answer to a bad request."""
    return ServiceError("InvalidRequestException", message, error_code="InvalidRequest")


@cache
def service_model() -> ServiceModel:
    return botocore.session.Session().get_service_model("emr")


def read_request(target: str, body: bytes) -> tuple[OperationModel, dict[str, Any]]:
    """The operation that was asked for and its parameters, checked. Raises ServiceError."""
    name = target.removeprefix(TARGET_PREFIX)
    model = service_model()
    if name not in model.operation_names:
        raise ServiceError("UnknownOperationException", f"EMR has no operation {name!r}.")
    operation = model.operation_model(name)
    try:
        params = without_nulls(json.loads(body or b"{}"))
        json.dumps(params, ensure_ascii=False, allow_nan=False).encode()  # no half characters, no infinite numbers
    except (ValueError, RecursionError) as error:
        raise ServiceError("SerializationException", f"The request is not JSON: {error}.") from error
    if not isinstance(params, dict):
        raise ServiceError("SerializationException", "The request is not a JSON object.")
    if operation.input_shape is not None:
        try:
            faults = complaints(params, operation.input_shape)
        except (ArithmeticError, OSError, RuntimeError) as error:  # botocore, of a timestamp that no calendar has
            raise ServiceError("SerializationException", f"A timestamp is impossible: {error}.") from error
        if faults:
            what = "1 validation error" if len(faults) == 1 else f"{len(faults)} validation errors"
            raise validation_error(f"{what} detected: {'; '.join(faults)}")
    return operation, params


def write_answer(answer: dict[str, Any]) -> bytes:
    return json.dumps(without_nulls(answer)).encode()


def complaints(value: Any, shape: Shape) -> list[str]:
    """What is wrong with a value of this shape: types, unknown and missing members, ranges, and words not allowed."""
    report = ParamValidator().validate(value, shape).generate_report()
    return report.splitlines() if report else list(_wrong_strings(value, shape, ""))


def _wrong_strings(value: Any, shape: Shape, where: str) -> list[str]:
    """botocore's validator leaves enumerations and lengths of strings to the service."""
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
    """A member that is null is a member that is not there."""
    if isinstance(value, dict):
        return {name: without_nulls(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [without_nulls(member) for member in value]
    return value
