"""What the contenders written in Python share: the load, the clock and the talk with the harness (README.md).

A contender is an object with

- `chunk`, `senders`: events offered at once, and how many such offers are under way;
- `start(folder, workers, ends)`: starts what it needs; its workers note in the file `ends` what ended when;
- `offer(events)`: gives (event, payload) pairs to it; returns when they are accepted; called from `senders` threads;
- `mismatches(first, count)`: how many of these events did not pass every stage exactly once;
- `stop()`: stops what `start` started; called once, also in the middle of a start.
"""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Events carried before the measured ones.
WARM_UP = 1000
# Bytes of an event's payload and of a stage's result, as compact JSON.
PAYLOAD = 600
RESULT = 300
# The pace of a steady load, how often the file of ends is looked at, and how long no event may end before the load is
# given up, in seconds.
TICK = 0.01
LOOK = 0.005
PATIENCE = 60.0


def compact(value):
    return json.dumps(value, separators=(",", ":"))


def padded(fields, last, size):
    empty = len(compact({**fields, last: ""}))
    text = ("the quick brown fox " * math.ceil(size / 20))[: size - empty]
    return {**fields, last: text}


def payload_of(event):
    """The payload of an event: an object that is 600 bytes of JSON."""
    return padded({"event": event, "title": f"Event {event}"}, "body", PAYLOAD)


def result_of(event, stage):
    """What a stage keeps of an event: an object that is 300 bytes of JSON."""
    return padded({"event": event, "stage": stage}, "result", RESULT)


class NoteEnds:
    """Notes events' ends in the file; also in processes forked after it was made."""

    def __init__(self, file):
        self.file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def __call__(self, event):
        os.write(self.file, f"{event} {time.time() * 1000:.3f}\n".encode())


class Supervised:
    """A program that gets SIGKILL when this process ends, however it ends. Its output goes to a file."""

    def __init__(self, log, *command, **options):
        with open(log, "ab") as file:
            guarded = ["setpriv", "--pdeathsig", "KILL", "--", *command]
            self.process = subprocess.Popen(
                guarded, stdin=subprocess.DEVNULL, stdout=file, stderr=file, **options
            )

    def stop(self):
        """SIGTERM, and SIGKILL after ten seconds."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Ends:
    """The file of ends, read as it grows."""

    def __init__(self, file):
        self.file = open(file, "a+b")
        self.file.seek(0)
        self.rest = b""
        self.at = {}

    def look(self):
        lines = (self.rest + self.file.read()).split(b"\n")
        self.rest = lines.pop()
        for line in lines:
            event, at = line.split()
            self.at.setdefault(int(event), float(at) / 1000)

    def reach(self, count):
        """Waits until `count` events have ended in all, or none does for a long time."""
        self.look()
        before, since = len(self.at), time.time()
        while len(self.at) < count and time.time() - since < PATIENCE:
            if len(self.at) > before:
                before, since = len(self.at), time.time()
            time.sleep(LOOK)
            self.look()


def flood(peer, ends, first, count):
    events = range(first, first + count)
    chunks = [events[at : at + peer.chunk] for at in range(0, count, peer.chunk)]
    began = time.time()
    with ThreadPoolExecutor(peer.senders) as senders:
        # Consumed, so that an offer's failure is raised here.
        list(senders.map(lambda chunk: peer.offer([(event, payload_of(event)) for event in chunk]), chunks))
    ends.reach(first + count)
    return count, lambda _: began, False


def steady(peer, ends, first, rate, seconds):
    count, sent, offers = int(rate * seconds), 0, []
    began = time.time()
    with ThreadPoolExecutor(peer.senders) as senders:
        while sent < count:
            until = min(count, int((time.time() - began) * rate) + 1)
            due = range(first + sent, first + until)
            for at in range(0, len(due), peer.chunk):
                events = [(event, payload_of(event)) for event in due[at : at + peer.chunk]]
                offers.append(senders.submit(peer.offer, events))
            sent = until
            time.sleep(TICK)
        for offer in offers:
            offer.result()
    ends.reach(first + count)
    return count, lambda event: began + (event - first) / rate, True


def summary(load, ends, first, errors):
    count, due, latency = load
    ended = [event for event in range(first, first + count) if event in ends.at]
    last = max((ends.at[event] for event in ended), default=0.0)
    taken = sorted((ends.at[event] - due(event)) * 1000 for event in ended)
    measured = latency and taken
    part = lambda share: round(taken[math.ceil(share * len(taken)) - 1], 3) if measured else None
    return {
        "events": count,
        "seconds": round(last - due(first), 3),
        "p50_ms": part(0.5),
        "p95_ms": part(0.95),
        "p99_ms": part(0.99),
        "max_ms": part(1.0),
        "errors": errors,
    }


def drive(peer):
    """Runs a contender as the command line says: `flood EVENTS` or `steady RATE SECONDS`."""
    kind, *numbers = sys.argv[1:]
    folder = Path(os.environ["FOLDER"])
    once, measured, line, closed = threading.Lock(), threading.Event(), threading.Event(), threading.Event()

    def leave(code):
        # Whoever comes second waits here for the first to end the process.
        once.acquire()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            peer.stop()
        finally:
            sys.stdout.flush()
            os._exit(code)

    def listen():
        if sys.stdin.readline():
            line.set()
            sys.stdin.read()
        closed.set()
        if not measured.is_set():
            leave(1)

    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=leave, args=[143]).start())
    signal.signal(signal.SIGINT, lambda *_: threading.Thread(target=leave, args=[130]).start())
    threading.Thread(target=listen, daemon=True).start()
    try:
        ends = Ends(folder / "ends")
        peer.start(folder, int(os.environ.get("WORKERS") or 1), folder / "ends")
        flood(peer, ends, 0, WARM_UP)
        print("ready", flush=True)
        line.wait()
        if kind == "flood":
            load = flood(peer, ends, WARM_UP, int(numbers[0]))
        else:
            load = steady(peer, ends, WARM_UP, float(numbers[0]), float(numbers[1]))
        errors = peer.mismatches(WARM_UP, load[0])
        measured.set()
        print(json.dumps(summary(load, ends, WARM_UP, errors)), flush=True)
        closed.wait()
        leave(0)
    except Exception:
        import traceback

        traceback.print_exc()
        leave(70)
