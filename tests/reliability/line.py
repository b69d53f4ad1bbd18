"""A TCP proxy between clients and the emulator, which can be cut."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress

AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset
CHUNK = 1 << 16


class Line:
    """Forwards bytes between its own port and another one."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = self._listen(0)
        self.port = int(self._listener.getsockname()[1])
        self._begin()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self, seconds: float) -> None:
        """Reset all connections, and accept no new ones for some seconds."""
        with self._lock:
            self._stop_listening()
            cut, self._open = self._open, set()
        for connection in cut:
            _reset(connection)
        mended = threading.Timer(seconds, self._mend)
        mended.daemon = True
        mended.start()
        if not seconds:
            mended.join()

    def close(self) -> None:
        with self._lock:
            self._stop_listening()
            left, self._open = self._open, set()
        for connection in left:
            _reset(connection)

    def _mend(self) -> None:
        self._listener = self._listen(self.port)
        self._begin()

    def _listen(self, port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        return listener

    def _stop_listening(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept()
        self._listener.close()

    def _begin(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), name="line", daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # it was cut
                return
            try:
                endpoint = socket.create_connection(("127.0.0.1", self._to_port))
            except OSError:
                _reset(client)
                continue
            with self._lock:
                self._open |= {client, endpoint}
            for connection in (client, endpoint):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._pass, args=(client, endpoint), name="line", daemon=True).start()

    def _pass(self, client: socket.socket, endpoint: socket.socket) -> None:
        """Forward in both directions until both have ended."""
        back = threading.Thread(target=self._pump, args=(endpoint, client), name="line", daemon=True)
        back.start()
        self._pump(client, endpoint)
        back.join()
        with self._lock:
            self._open -= {client, endpoint}
        for connection in (client, endpoint):
            connection.close()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
            return
        for end in (source, sink):  # one of them was reset
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
