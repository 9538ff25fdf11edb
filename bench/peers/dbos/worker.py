"""A process of workers: worker.py EXECUTOR"""

import signal
import sys

from dbos import DBOS

from stages import QUEUE, config

# Workflows at once in a process, each on a thread and with a connection.
CONCURRENCY = 20
# Seconds between two looks at the queue.
POLLING_INTERVAL = 0.02

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
DBOS(config={**config(sys.argv[1]), "sys_db_pool_size": CONCURRENCY, "max_executor_threads": CONCURRENCY})
DBOS.launch()
DBOS.register_queue(QUEUE, worker_concurrency=CONCURRENCY, polling_interval_sec=POLLING_INTERVAL)
signal.sigwait([signal.SIGTERM])
DBOS.destroy()
