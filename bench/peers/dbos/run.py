"""DBOS: a durable workflow of five steps, enqueued by a client and worked by processes of their own."""

import os
import sys
from pathlib import Path

import sqlalchemy
from dbos import DBOSClient, run_dbos_database_migrations

from driver import Supervised, drive
from stages import QUEUE, STAGES, database_url

WORKER = Path(__file__).with_name("worker.py")


class Durable:
    chunk = 64
    senders = 2

    def __init__(self):
        self.workers = []

    def start(self, folder, workers, ends):
        run_dbos_database_migrations(system_database_url=database_url())
        self.engine = sqlalchemy.create_engine(database_url())
        self.client = DBOSClient(system_database_url=database_url())
        for number in range(workers):
            command = [sys.executable, str(WORKER), f"worker-{number}"]
            environment = {**os.environ, "ENDS": str(ends)}
            self.workers.append(Supervised(folder / f"worker-{number}.log", *command, env=environment))

    def offer(self, events):
        """A transaction for all of them."""
        with self.engine.begin() as connection:
            for event, payload in events:
                options = {"queue_name": QUEUE, "workflow_name": "carry", "workflow_id": f"event-{event}"}
                self.client.enqueue_in_transaction(connection, options, payload)

    def mismatches(self, first, count):
        steps = sqlalchemy.text(
            "SELECT count(*) FROM (SELECT o.workflow_uuid FROM dbos.operation_outputs o"
            " JOIN dbos.workflow_status w USING (workflow_uuid)"
            " WHERE w.status = 'SUCCESS' AND o.function_name = ANY(:stages) AND length(o.output) >= 300"
            " AND split_part(workflow_uuid, '-', 2)::bigint BETWEEN :first AND :last"
            " GROUP BY 1 HAVING count(*) = :steps AND count(DISTINCT o.function_name) = :steps) AS whole"
        )
        given = {"stages": STAGES, "steps": len(STAGES), "first": first, "last": first + count - 1}
        with self.engine.connect() as connection:
            return count - connection.execute(steps, given).scalar_one()

    def stop(self):
        for worker in self.workers:
            worker.stop()


drive(Durable())
