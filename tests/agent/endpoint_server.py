"""A little OpenAI-compatible server over a real model, and the ways in which servers fail."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from openqwen.agent.models import LocalModel, Options


class Server:
    """What the test looks at: requests as they came, failures to be served first."""

    def __init__(self, model):
        self.model, self.requests, self.failures = model, [], []
        self.most_at_once = self.at_once = 0
        self.lock = threading.Lock()
        self.delay_s = 0.0
        handler = type("Handler", (_Handler,), {"server_of_test": self})
        self.http = _Quiet(("127.0.0.1", 0), handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def prompts(self):
        return [body.get("prompt", body.get("messages")) for _, body, _ in self.requests]


@contextlib.contextmanager
def serve(lm):
    server = Server(LocalModel(lm, "tiny"))
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, *_):
        """Say nothing of clients that hang up: tests do that on purpose."""


class _Handler(BaseHTTPRequestHandler):
    server_of_test: Server

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._send(200, {"data": [{"id": "tiny"}]})

    def do_POST(self):
        server = self.server_of_test
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.requests.append((self.path, body, dict(self.headers)))
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
            failure = server.failures.pop(0) if server.failures else None
        time.sleep(server.delay_s)
        with server.lock:
            server.at_once -= 1
        if failure is not None:
            self._fail(*failure)
        elif "prompt" in body and "refuse" in body["prompt"]:
            self._send(400, {"error": {"message": "prompt is too long"}})
        else:
            with server.lock:  # the model takes one caller at a time
                self._answer(body)

    def _fail(self, status, headers=(), text='{"error": {"message": "busy"}}'):
        if status == "hang up":
            self.connection.close()
            return
        if status == "silence":
            time.sleep(headers)
            self._send(200, {})
            return
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def _answer(self, body):
        options = Options(max_new_tokens=body["max_tokens"], stop=tuple(body.get("stop", ())))
        is_chat = "messages" in body
        model = self.server_of_test.model
        prompt = body["messages"] if is_chat else body["prompt"]
        if not body.get("stream"):
            reply = model.reply([prompt], options)[0]
            said = {"message": {"role": "assistant", "content": reply.text}}
            self._send(200, self._response(said if is_chat else {"text": reply.text}, reply))
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        stream = model.stream(prompt, options)
        try:
            while True:
                text = next(stream)
                self._event({"choices": [{"delta": {"content": text}} if is_chat
                                         else {"text": text}]})  # fmt: skip
        except StopIteration as end:
            reply = end.value
        self._event(self._response({}, reply) | {"usage": None})
        self._event({"choices": [], "usage": self._response({}, reply)["usage"]})
        self.wfile.write(b": a comment\n\ndata: [DONE]\n\n")

    @staticmethod
    def _response(said, reply):
        usage = {
            "prompt_tokens": reply.num_prompt_tokens, "completion_tokens": reply.num_new_tokens,
        }  # fmt: skip
        choice = said | {"finish_reason": reply.finish_reason}
        return {"choices": [choice], "usage": usage}

    def _event(self, value):
        self.wfile.write(f"data: {json.dumps(value)}\n\n".encode())
        self.wfile.flush()

    def _send(self, status, value):
        self._fail(status, [("Content-Type", "application/json")], json.dumps(value))
