"""A stand-in for the sandbox's backend: the same command line and answers, no database."""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, commit, outcome = int(sys.argv[1]), sys.argv[2], sys.argv[3]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        good = outcome == "ok"
        body = {"status": "ok" if good else "failing", "version": commit, "env": sorted(os.environ)}
        data = json.dumps(body).encode()
        self.send_response(200 if good else 500)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


def end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


if outcome == "dies":
    sys.exit(1)
threading.Thread(target=end_with_stdin, daemon=True).start()
server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
print("ready", flush=True)
server.serve_forever()
