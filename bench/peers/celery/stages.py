"""The Celery application: a task for each stage, chained; every task's result is kept in Redis."""

import os

from celery import Celery, chain, signals

from driver import NoteEnds, result_of

# Celery's broker and its result backend name a Unix socket differently.
URL = os.environ["REDIS_URL"]
BROKER = URL.replace("redis+unix://", "redis+socket://")
BACKEND = BROKER

app = Celery("bench", broker=BROKER, backend=BACKEND)
app.conf.update(
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    # Many short tasks: the guide of optimisation recommends a large prefetch and transient queues of memory's speed.
    worker_prefetch_multiplier=64,
    broker_transport_options={"visibility_timeout": 3600},
    # No message about what a worker does is read by anybody.
    worker_send_task_events=False,
    task_send_sent_event=False,
    result_expires=3600,
)

# Set in the processes of workers only.
noted = NoteEnds(os.environ["ENDS"]) if "ENDS" in os.environ else None


@app.task
def etl(given):
    return result_of(given["event"], "etl")


@app.task
def embedding(given):
    return result_of(given["event"], "embedding")


@app.task
def judge(given):
    return result_of(given["event"], "judge")


@app.task
def publish(given):
    return result_of(given["event"], "publish")


STAGES = [etl, embedding, judge, publish]


@signals.task_postrun.connect(sender=publish)
def ended(retval, **_):
    """The result is stored when this is called."""
    noted(retval["event"])


def id_of(event, stage):
    """The id of a stage's task, which its result is kept under."""
    return f"{event}-{stage.__name__}"


def through_all(event, payload):
    """The chain of an event's stages."""
    first, *following = STAGES
    signatures = [first.s(payload), *(stage.s() for stage in following)]
    for stage, signature in zip(STAGES, signatures):
        signature.set(task_id=id_of(event, stage))
    return chain(*signatures)
