"""A client that is nothing but a socket, so that its times are those of the server and the loopback device."""

import contextlib
import socket
import time
from typing import NamedTuple

#: Between requests, until a server has cleaned up after the one before: seconds.
PAUSE_S = 0.003


class Answer(NamedTuple):
    """A response, and when it had arrived, in seconds since the request was sent.

    `is_first`: on its connection, where a server takes longer to get to it.
    """

    status: int
    body: bytes
    first_byte_s: float
    last_byte_s: float
    is_first: bool


class Client:
    """A connection that is kept alive where the server allows it."""

    def __init__(self, port):
        self.port = port
        self._socket = None
        self._buffer = b""

    def get(self, path, headers=""):
        """Send a request, and read the response whole."""
        time.sleep(PAUSE_S)
        is_first = self._socket is None or self._is_closed()
        if is_first:
            self.close()
            self.connect()
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n".encode()
        begin = time.perf_counter()
        try:
            self._socket.sendall(request)
            head = self._until(b"\r\n\r\n")
        except ConnectionError:
            if is_first or self._buffer:
                raise
            self.close()  # the server has closed it just now, and has not seen the request
            return self.get(path, headers)
        status = int(head.split(None, 2)[1])
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
        first = time.perf_counter() - begin
        body = self._body(status, fields)
        last = time.perf_counter() - begin
        if fields.get(b"connection") == b"close":
            self.close()
        return Answer(status, body, first, last, is_first)

    def _is_closed(self):
        """Whether the server has closed the connection, as some do after an error."""
        try:
            return self._socket.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except ConnectionError:
            return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def connect(self):
        self._socket = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._buffer = b""
        time.sleep(0.01)  # until the server has accepted it

    def leave_during(self, path):
        """Send a request, read the beginning of the response, and reset the connection."""
        self.connect()
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        self._until(b"chunk")
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()

    def close(self):
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _body(self, status, fields):
        if status in (101, 204, 304):
            return b""
        if b"content-length" in fields:
            return self._take(int(fields[b"content-length"]))
        if fields.get(b"transfer-encoding") != b"chunked":
            with contextlib.suppress(ConnectionError):
                while True:
                    self._more()
            return self._buffer
        parts = []
        while size := int(self._until(b"\r\n"), 16):
            parts.append(self._take(size))
            self._take(2)
        self._take(2)
        return b"".join(parts)

    def _until(self, mark):
        while mark not in self._buffer:
            self._more()
        found, _, self._buffer = self._buffer.partition(mark)
        return found

    def _take(self, count):
        while len(self._buffer) < count:
            self._more()
        found, self._buffer = self._buffer[:count], self._buffer[count:]
        return found

    def _more(self):
        # Without sleeping: how long it takes to wake a process depends on how long it has slept, and not on the server.
        give_up = time.monotonic() + 20
        while True:
            try:
                more = self._socket.recv(1 << 16)
                break
            except BlockingIOError:
                assert time.monotonic() < give_up, "the server does not answer"
        if not more:
            raise ConnectionError("the server has closed the connection")
        self._buffer += more
