"""The workflow: five steps, whose results DBOS keeps."""

import os
from urllib.parse import parse_qsl, urlencode, urlsplit

from dbos import DBOS

from driver import NoteEnds, result_of

QUEUE = "bench"
STAGES = ["accept", "etl", "embedding", "judge", "publish"]

# Set in the processes of workers only.
noted = NoteEnds(os.environ["ENDS"]) if "ENDS" in os.environ else None


def database_url():
    """The database as SQLAlchemy names it: a Unix socket's folder is the host."""
    given = urlsplit(os.environ["DATABASE_URL"])
    place, query = given.netloc, dict(parse_qsl(given.query))
    if "host" in query:
        login = place.rpartition("@")[0]
        place = f"{login}@"
        query["port"] = str(given.port or 5432)
    return f"postgresql+psycopg://{place}{given.path}?{urlencode(query)}"


def config(executor):
    """The configuration of a process. Workers of one version share the queue."""
    return {
        "name": "bench",
        "system_database_url": database_url(),
        "application_version": "1",
        "executor_id": executor,
        "log_level": "WARNING",
    }


def stage(name):
    return DBOS.step(name=name)(lambda event: result_of(event, name))


steps = [stage(name) for name in STAGES]


@DBOS.workflow(name="carry")
def carry(given):
    event = given["event"]
    for step in steps:
        step(event)
    noted(event)
