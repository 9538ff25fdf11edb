"""Celery on Redis: a chain of four tasks, worked by processes that are forked in advance."""

import json
import os
import sys

from redis import Redis

from driver import Supervised, drive, result_of
from stages import STAGES, URL, app, id_of, through_all

# Results read at once.
CHUNK = 256


class Chained:
    chunk = 16
    senders = 1

    def __init__(self):
        self.workers = []

    def start(self, folder, workers, ends):
        for number in range(workers):
            command = [sys.executable, "-m", "celery", "-A", "stages", "worker", "--loglevel=WARNING", "--pool=prefork"]
            command += [f"--hostname=worker-{number}@bench", "--without-gossip", "--without-mingle"]
            command += ["--without-heartbeat", "-Ofair"]
            self.workers.append(Supervised(folder / f"worker-{number}.log", *command, env={**os.environ, "ENDS": str(ends)}))

    def offer(self, events):
        with app.producer_pool.acquire() as producer:
            for event, payload in events:
                through_all(event, payload).apply_async(producer=producer)

    def mismatches(self, first, count):
        redis = Redis.from_url(URL.replace("redis+unix://", "unix://"))
        wrong = set()
        for stage in STAGES:
            for start in range(first, first + count, CHUNK):
                events = range(start, min(start + CHUNK, first + count))
                kept = redis.mget([f"celery-task-meta-{id_of(event, stage)}" for event in events])
                for event, entry in zip(events, kept):
                    entry = json.loads(entry) if entry else {}
                    if entry.get("status") != "SUCCESS" or entry["result"] != result_of(event, stage.__name__):
                        wrong.add(event)
        return len(wrong)

    def stop(self):
        for worker in self.workers:
            worker.stop()


drive(Chained())
