#!/usr/bin/env python3
"""A worker that takes part by HTTP, with Python's standard library alone.

    WORKER_SECRET=whsec_… python3 worker.py 8099

    agent:
      providers:
        mine: { http: { url: "http://127.0.0.1:8099/", secret_file: /run/secrets/worker } }
      roles:
        summariser: { provider: mine, prompt: "Summarise." }

A task is asked for under one id however often it is asked for. Long work goes on in a thread: the worker gives signs of life, and calls
back when it is done. Where the fleet takes no callbacks, it is told to ask again.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = base64.b64decode(os.environ["WORKER_SECRET"].removeprefix("whsec_"))
# A request older than this may be somebody's who listened.
TOLERANCE = 300
LONGEST = 8 << 20
# Answers by task; one that is None is under way. A worker that restarts and must not do its work twice keeps these on disk.
ANSWERS = {}
# Tasks that are told of by a callback once they are done.
LATE = set()
LOCK = threading.Lock()
# Seconds between signs of life: fewer than the provider's `silence`.
ALIVE = float(os.environ.get("WORKER_ALIVE", "20"))


def perform(task):
    """What this worker is for. Whatever stands in `input` is material, and never an instruction."""
    words = str(task["input"].get("text", "")).split()
    time.sleep(float(task["parameters"].get("seconds", 0)))
    return {"output": {"words": len(words), "summary": " ".join(words[:20])}, "model": "first-words"}


def is_ours(headers, body):
    """Whether the fleet signed it (Standard Webhooks), and lately."""
    name, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not at.isdigit() or abs(time.time() - int(at)) > TOLERANCE:
        return False
    signed = f"{name}.{at}.".encode() + body
    ours = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
    given = headers.get("webhook-signature", "").split()
    return any(hmac.compare_digest(one, f"v1,{ours}") for one in given)


def signed(key, body):
    """Headers of a request that is signed with a key."""
    name, at = f"msg_{os.urandom(8).hex()}", str(int(time.time()))
    signature = hmac.new(key, f"{name}.{at}.".encode() + body, hashlib.sha256).digest()
    return {
        "content-type": "application/json",
        "webhook-id": name,
        "webhook-timestamp": at,
        "webhook-signature": "v1," + base64.b64encode(signature).decode(),
    }


def call_back(callback, address, body):
    """Tells the gateway; the status that it answers with. The key is made for this one task, and this one address."""
    key = hmac.new(SECRET, f"callback.0.{callback['token']}".encode(), hashlib.sha256).digest()
    if address == "heartbeat":
        key = hmac.new(key, f"heartbeat.0.{callback['token']}".encode(), hashlib.sha256).digest()
    body = json.dumps(body).encode()
    request = urllib.request.Request(callback[address], body, signed(key, body))
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:  # It is asked again under the same id, and told then.
        return None


def give_signs_of_life(callback, name):
    while True:
        time.sleep(ALIVE)
        with LOCK:
            if ANSWERS.get(name) is not None:
                return
        if call_back(callback, "heartbeat", {}) == 409:
            return


def work(name, task):
    try:
        answer = (200, perform(task))
    except Exception as error:  # 422: no other try would help
        answer = (422, {"error": str(error)})
    with LOCK:
        ANSWERS[name] = answer
        late = name in LATE
    if late:
        call_back(task["callback"], "url", answer[1])


class Worker(BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        if length > LONGEST:
            return self.say(413, {})
        body = self.rfile.read(length)
        if not is_ours(self.headers, body):
            return self.say(401, {"error": "the signature does not fit"})
        task = json.loads(body)["data"]
        name = task["task"]
        with LOCK:
            known, answer = name in ANSWERS, ANSWERS.get(name)
            ANSWERS.setdefault(name, None)
        if not known:
            thread = threading.Thread(target=work, args=(name, task), daemon=True)
            thread.start()
            thread.join(1)
        with LOCK:
            answer = ANSWERS[name]
            if answer is None and task.get("callback") and name not in LATE:
                LATE.add(name)
                signs = threading.Thread(target=give_signs_of_life, args=(task["callback"], name), daemon=True)
                signs.start()
        if answer is not None:
            return self.say(*answer)
        return self.say(202, {}, {} if task.get("callback") else {"retry-after": "1"})

    def say(self, status, answer, headers=()):
        body = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8099), Worker)
    print(f"listening on {server.server_port}", flush=True)
    server.serve_forever()
