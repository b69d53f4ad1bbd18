"""The HTTP endpoint for EMR, EMR Serverless, S3 and STS, the web page, and the faults."""

from __future__ import annotations

import json
import re
import secrets
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.http import http_date
from werkzeug.serving import BaseWSGIServer, make_server
from werkzeug.wrappers import Request, Response

from emr_emulator import protocol
from emr_emulator.buckets import Buckets
from emr_emulator.faults import (
    ExpiredToken,
    Faults,
    InvalidFault,
    LostResponse,
    ServerError,
    Throttle,
    read_faults,
)
from emr_emulator.operations import Operations
from emr_emulator.page import Page
from emr_emulator.protocol import ServiceError
from emr_emulator.s3 import access_key_of, operation_of
from emr_emulator.serverless import rest
from emr_emulator.serverless.operations import ServerlessOperations

POLL_SECONDS = 0.05  # how soon it notices that it should stop
HOST = "127.0.0.1"  # so that no other machine can run programs here
OWN_HOST = re.compile(r"(?:(?P<bucket>[a-z0-9.-]+)\.)?(?:127\.0\.0\.1|localhost)(?::\d+)?")
OWN_ORIGIN = re.compile(r"http://(?:127\.0\.0\.1|localhost)(?::\d+)?")
PATHS = ("PATH_INFO", "RAW_URI", "REQUEST_URI")
REGION = re.compile(r"Credential=[^/]+/\d+/([^/]+)/")

WSGI = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class AddressInUse(Exception):
    """The port is in use."""


class Application:
    """A WSGI application."""

    def __init__(
        self,
        operations: Operations,
        serverless: ServerlessOperations,
        buckets: Buckets,
        faults: Faults,
        page: Page,
        report: Callable[[BaseException], None],
        now: Callable[[], float],
    ) -> None:
        self._report = report
        self._now = now
        self._operations = operations
        self._serverless = serverless
        self._buckets = buckets
        self._faults = faults
        self._page = page

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def dated(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            """Set the response's Date from the emulator's clock: clients take it for AWS's time."""
            others = [header for header in headers if header[0].lower() != "date"]
            return start_response(status, [*others, ("Date", http_date(self._now()))], *error)

        return self._answered(environ, dated)

    def _answered(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        host = OWN_HOST.fullmatch(request.headers.get("Host", ""))
        origin = request.headers.get("Origin")
        if host is None or (origin is not None and not OWN_ORIGIN.fullmatch(origin)):
            refused = Response("The emulator answers to programs of this machine only.\n", 403)
            return refused(environ, start_response)
        if request.path.startswith("/moto-api"):
            return Response("moto's own interface is not for clients of the emulator.\n", 404)(environ, start_response)
        if request.path == "/_emulator" or request.path.startswith("/_emulator/"):
            return self._own(request)(environ, start_response)
        if request.headers.get("X-Amz-Target", "").startswith(protocol.TARGET_PREFIX):
            return self._emr(request)(environ, start_response)
        if signed := rest.SIGNED_FOR.search(request.headers.get("Authorization", "")):
            return self._emr_serverless(request, signed[1])(environ, start_response)
        if host.group("bucket"):  # bucket.localhost/key is /bucket/key
            longer = {name: f"/{host.group('bucket')}{environ[name]}" for name in PATHS if name in environ}
            request = Request({**environ, **longer, "HTTP_HOST": f"{HOST}:{environ['SERVER_PORT']}"})
        return self._aws(request)(environ, start_response)

    def _emr(self, request: Request) -> Response:
        region = REGION.search(request.headers.get("Authorization", ""))
        try:
            operation, params = protocol.read_request(request.headers["X-Amz-Target"], request.get_data())
            self._strike_call(operation.name, request)
            answer = self._operations.call(operation.name, params, region.group(1) if region else "us-east-1")
            response = Response(protocol.write_answer(answer), 200)
            self._maybe_lose_response(operation.name, request)
        except ServiceError as error:
            response = _service_error(error)
        except (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, ConnectionResetError):  # the response is to be lost
                raise
            self._report(error)
            response = _service_error(ServiceError("InternalServerException", f"The emulator failed: {error!r}", 500))
        response.headers["Content-Type"] = protocol.CONTENT_TYPE
        response.headers["x-amzn-RequestId"] = secrets.token_hex(16)
        return response

    def _emr_serverless(self, request: Request, region: str) -> Response:
        try:
            operation, params = rest.read_request(request)
            self._strike_call(operation.name, request)
            answer = self._serverless.call(operation.name, params, region)
            response = Response(rest.write_answer(answer), 200)
            self._maybe_lose_response(operation.name, request)
        except ServiceError as error:
            response = _service_error(error, rest.error_body(error))
        except (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, ConnectionResetError):  # the response is to be lost
                raise
            self._report(error)
            failed = ServiceError("InternalServerException", f"The emulator failed: {error!r}", 500)
            response = _service_error(failed, rest.error_body(failed))
        response.headers["Content-Type"] = rest.CONTENT_TYPE
        response.headers["x-amzn-RequestId"] = secrets.token_hex(16)
        return response

    def _strike_call(self, operation: str, request: Request) -> None:
        if self._faults.strike(ExpiredToken, operation=(operation,), key=("",), access_key=(access_key_of(request),)):
            raise ServiceError("ExpiredTokenException", "The security token included in the request is expired")
        if self._faults.strike(Throttle, operation=(operation,)):
            raise ServiceError("ThrottlingException", "Rate exceeded")
        if self._faults.strike(ServerError, operation=(operation,)):
            raise ServiceError("InternalServerException", "An internal error occurred.", status=500)

    def _maybe_lose_response(self, operation: str, request: Request) -> None:
        if self._faults.strike(LostResponse, operation=(operation,)):
            connection: socket.socket = request.environ["werkzeug.socket"]
            with suppress(OSError):  # the client has disconnected
                connection.shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError(f"the response to {operation} is lost, as a fault says")

    def _aws(self, request: Request) -> Response:
        response = self._buckets.respond(request)
        try:
            self._maybe_lose_response(operation_of(request, request.path.lstrip("/").partition("/")[2]), request)
        except ConnectionResetError:
            response.close()
            raise
        return response

    def _own(self, request: Request) -> Response:
        if request.path.rstrip("/") == "/_emulator/faults":
            return self._own_faults(request)
        return self._page.respond(request)

    def _own_faults(self, request: Request) -> Response:
        if request.method == "POST":
            try:
                self._faults.add(read_faults(json.loads(request.get_data() or b"null")))
            except (InvalidFault, ValueError, RecursionError) as error:
                return _json({"error": str(error)}, 400)
        elif request.method == "DELETE":
            self._faults.clear()
        elif request.method != "GET":
            return _json({"error": f"{request.method} is not GET, POST or DELETE."}, 405)
        return _json(self._faults.waiting())


def _service_error(error: ServiceError, body: bytes | None = None) -> Response:
    response = Response(error.body() if body is None else body, error.status)
    response.headers["x-amzn-ErrorType"] = error.code
    return response


def _json(data: Any, status: int = 200) -> Response:
    return Response(json.dumps(data, indent=1) + "\n", status, content_type="application/json")


class QuietHandler(MotoRequestHandler):
    def send_response(self, code: int, message: str | None = None) -> None:
        """Send no Date: the application sets it from the emulator's clock."""
        self.log_request(code)
        self.send_response_only(code, message)
        self.send_header("Server", self.version_string())

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 (werkzeug's name)
        """Log errors only; a line per request would hide the lines about clusters."""
        if type == "error":
            super().log(type, message, *args)


class Server:
    """Serves an application on the loopback address, in a thread."""

    def __init__(self, application: WSGI, port: int) -> None:
        probe = socket.socket()
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(128)
        except OSError as error:
            probe.close()
            raise AddressInUse(f"Port {port} of {HOST} cannot be used: {error.strerror}.") from error
        # werkzeug would exit the process if the port were in use
        self._server: BaseWSGIServer = make_server(
            HOST, port, application, threaded=True, request_handler=QuietHandler, fd=probe.fileno()
        )
        probe.close()  # the server has duplicated it
        self.port = self._server.port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_SECONDS,), name="server", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
