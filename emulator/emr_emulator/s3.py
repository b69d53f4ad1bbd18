"""S3's protocol, as far as needed: the operation of a request, and responses from a file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any, BinaryIO
from xml.sax.saxutils import escape

from werkzeug.wrappers import Request, Response

BLOCK_BYTES = 1 << 20
STATUS_OF_ERROR = {
    "SlowDown": 503, "AccessDenied": 403, "InternalError": 500, "MalformedXML": 400, "InvalidBucketName": 400,
    "ExpiredToken": 400,
}  # fmt: skip
MESSAGE_OF_ERROR = {"InvalidBucketName": "The specified bucket is not valid.", "AccessDenied": "Access Denied"}


# query arguments that sign a request or shape its response
NOT_ASKING = ("x-amz-", "x-id", "response-", "awsaccesskeyid", "signature", "expires")
OF_BUCKETS = {"PUT": "CreateBucket", "DELETE": "DeleteBucket", "HEAD": "HeadBucket", "GET": "ListObjects"}
OF_OBJECTS = {"GET": "GetObject", "PUT": "PutObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}


def operation_of(request: Request, key: str) -> str:
    """Return the name of the request's S3 operation, as far as faults need it."""
    method = request.method
    args = {name: value for name, value in request.args.items() if not name.lower().startswith(NOT_ASKING)}
    name = (OF_OBJECTS if key else OF_BUCKETS).get(method, method)
    if not key:
        if method == "POST" and "delete" in args:
            name = "DeleteObjects"
        elif args.get("list-type") == "2":
            name = "ListObjectsV2"
    elif method == "POST":
        name = "CreateMultipartUpload" if "uploads" in args else "CompleteMultipartUpload"
    elif method == "PUT" and "uploadId" in args:
        name = "UploadPart"
    elif method == "DELETE" and "uploadId" in args:
        name = "AbortMultipartUpload"
    elif method == "PUT" and "x-amz-copy-source" in request.headers:
        name = "CopyObject"
    elif method == "GET" and args:
        name = "GetObjectAttributes"  # a version, the tags, the ACL, ...
    return name


def answer(application: Any, environ: dict[str, Any]) -> Response:
    return Response.from_app(application, environ, buffered=True)


def with_content(head: Response, file: BinaryIO) -> Response:
    """Turn the response to a HEAD into that to a GET, and stream the file."""
    start, end = 0, os.fstat(file.fileno()).st_size
    if head.status_code == 206:  # noqa: PLR2004 (HTTP: Partial Content)
        found = re.match(r"bytes (\d+)-(\d+)/", head.headers["Content-Range"])
        if found:
            start, end = int(found.group(1)), int(found.group(2)) + 1
    headers = head.headers.copy()
    headers["Content-Length"] = str(end - start)
    for name in [name for name, _ in headers if name.lower().startswith("x-amz-checksum-")]:
        del headers[name]  # moto formats them for HEAD differently from what clients of GET check
    response = Response(_blocks(file, start, end), head.status_code, headers)
    response.call_on_close(file.close)
    return response


def _blocks(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    with file:  # werkzeug does not close the response if the client has disconnected
        file.seek(start)
        while start < end:
            block = file.read(min(BLOCK_BYTES, end - start))
            if not block:
                raise ConnectionResetError(f"{file.name} became shorter while it was read")
            start += len(block)
            yield block


def error_response(code: str, request: Request) -> Response:
    message = MESSAGE_OF_ERROR.get(code, "The emulator answers so.")
    text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Response("" if request.method == "HEAD" else text, STATUS_OF_ERROR[code], content_type="application/xml")


def service_of(request: Request) -> str:
    """Return the service that a request is signed for; an unsigned request is for S3."""
    scope = re.search(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/", request.headers.get("Authorization", ""))
    return scope.group(1).lower() if scope else "s3"


def access_key_of(request: Request) -> str:
    """Return the access key of a request, empty if it is unsigned."""
    signed = re.search(r"Credential=([^/]+)/", request.headers.get("Authorization", ""))
    return signed.group(1) if signed else ""


def not_emulated(request: Request, service: str) -> Response:
    """Return an error in the service's protocol, JSON or XML."""
    message = f"The emulator answers for EMR, EMR Serverless, S3 and STS, not for {service!r}."
    if "X-Amz-Target" in request.headers:
        body = json.dumps({"__type": "NotEmulated", "message": message})
        return Response(body, 400, content_type="application/x-amz-json-1.1")
    text = f"<ErrorResponse><Error><Code>NotEmulated</Code><Message>{escape(message)}</Message></Error></ErrorResponse>"
    return Response(text, 400, content_type="text/xml")
