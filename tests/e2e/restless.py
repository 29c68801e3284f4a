"""A client that reconnects at random moments, as a process of its own. Run it by its file.

    restless.py SECONDS_MIN SECONDS_MAX ADDRESS:PORT...

Calls each address again and again, with a random pause of that many seconds between two calls, and
writes a line of JSON for each call. It knows nothing of Wangell: plain sockets, no retry. Of three
connections one is silent for a while before it asks. At SIGTERM it ends the calls under way, writes
the line "over", and ends.
"""

import json
import random
import signal
import socket
import sys
import threading
import time

TIMEOUT_S = 30.0
SILENCE_S_MAX = 1.5
REQUEST = b"GET / HTTP/1.0\r\n\r\n"
ANSWER = b"Hello World!\n"

over = threading.Event()
turn = threading.Lock()


def call(address: str, port: int) -> dict[str, object]:
    """One connection and one request on it; never raises, for a failure is what is looked for."""
    began, source, local_port, failure = time.time(), "", 0, ""
    silence_s = random.choice((0.0, 0.0, random.uniform(0, SILENCE_S_MAX)))
    try:
        with socket.create_connection((address, port), TIMEOUT_S) as connection:
            connected = time.time()
            source, local_port = connection.getsockname()
            over.wait(silence_s)
            connection.sendall(REQUEST)
            answer = b""
            while chunk := connection.recv(4096):
                answer += chunk
        if not answer.endswith(ANSWER):
            failure = f"not the answer: {answer!r}"
    except OSError as error:
        failure, connected = repr(error), time.time()
    return {
        "address": address,
        "source": source,
        "local_port": local_port,
        "began_s": began,
        "connected_ms": (connected - began) * 1000,
        "silence_s": silence_s,
        "failure": failure,
    }


def call_again_and_again(target: str, pause_s: tuple[float, float]) -> None:
    """Until it is over."""
    address, _, port = target.partition(":")
    while not over.is_set():
        line = json.dumps(call(address, int(port)))
        with turn:
            print(line, flush=True)
        over.wait(random.uniform(*pause_s))


def main() -> None:
    """A thread for each target."""
    for asked in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked, lambda *_: over.set())
    shortest, longest, *targets = sys.argv[1:]
    pause_s = float(shortest), float(longest)
    threads = [
        threading.Thread(target=call_again_and_again, args=(target, pause_s)) for target in targets
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("over", flush=True)


if __name__ == "__main__":
    main()
