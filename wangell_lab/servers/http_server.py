"""The demo's server: a small HTTP server that says hello. Its start is what a cold start pays for.

Run as a plain script with `python -I -S`; it imports only what it needs, as one does who wants to
start fast. Its port is $PORT, as with Knative.
"""

import os
import socket
from contextlib import suppress

BODY = b"hello from a service that was at zero\n"
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
REQUEST_BYTES_MAX = 65536
# It serves one caller at a time: a silent one may not hold up the rest for longer.
CALLER_TIMEOUT_S = 5.0
BACKLOG = 128


def serve(port: int) -> None:
    """Answer every request on every address, for ever."""
    with socket.create_server(("", port), backlog=BACKLOG) as listener:
        while True:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.settimeout(CALLER_TIMEOUT_S)
                if connection.recv(REQUEST_BYTES_MAX):
                    connection.sendall(RESPONSE)


if __name__ == "__main__":
    serve(int(os.environ.get("PORT", "8080")))
