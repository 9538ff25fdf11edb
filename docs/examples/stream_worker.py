#!/usr/bin/env python3
"""A worker that takes part by the streams themselves, with Python's standard library alone.

    python3 stream_worker.py 127.0.0.1 6379
    python3 stream_worker.py .tidemill/redis/redis.sock

It reads `dataset:events` in a consumer group of its own, and for each run that was published puts an event of its own onto
`trend:ingest:stream`, as any upstream may. A step of a workflow it cannot do: what a step leaves is committed to PostgreSQL with its
provenance, by a handler in the fleet or by a provider that the agent asks (worker.py).
"""

import json
import socket
import sys

GROUP, NAME = "follow-ups", "follow-ups-1"
EVENTS, INGEST = "dataset:events", "trend:ingest:stream"


class Redis:
    """As much of RESP2 as is needed here."""

    def __init__(self, host, port=None):
        if port is None:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(host)
        else:
            connection = socket.create_connection((host, int(port)))
        self.file = connection.makefile("rwb")

    def __call__(self, *words):
        words = [str(word).encode() for word in words]
        self.file.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        self.file.flush()
        return self.answer()

    def answer(self):
        line = self.file.readline().rstrip(b"\r\n")
        if not line:
            raise EOFError("Redis closed the connection")
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            length = int(rest)
            return None if length < 0 else self.file.read(length + 2)[:-2].decode()
        if kind == b"*":
            return None if rest == b"-1" else [self.answer() for _ in range(int(rest))]
        return rest.decode()


def follow_up(event):
    """The event that follows from another, or None. It has the id of what it follows from: sent twice, it counts once."""
    if event.get("type") != "io.tidemill.run.published":
        return None
    body = f"A post went out: {event.get('subject')}"
    return {"source": "follow-ups", "request_id": event["id"], "payload": json.dumps({"body": body})}


def handle(redis, entry, fields):
    fields = dict(zip(fields[::2], fields[1::2]))
    follow = follow_up(json.loads(fields.get("event", "{}")))
    if follow:
        # Add first, then acknowledge: a crash in between repeats the event, under the same request id.
        redis("XADD", INGEST, "*", *[word for pair in follow.items() for word in pair])
    redis("XACK", EVENTS, GROUP, entry)


def main(*address):
    redis = Redis(*address)
    try:
        redis("XGROUP", "CREATE", EVENTS, GROUP, "0", "MKSTREAM")
    except RuntimeError as error:
        if "BUSYGROUP" not in str(error):
            raise
    # What an earlier life of this worker left unfinished comes first.
    position = "0"
    while True:
        read = redis("XREADGROUP", "GROUP", GROUP, NAME, "COUNT", 100, "BLOCK", 5000, "STREAMS", EVENTS, position)
        entries = read[0][1] if read else []
        for entry, fields in entries:
            handle(redis, entry, fields or [])
        if not entries:
            position = ">"


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["127.0.0.1", "6379"]))
