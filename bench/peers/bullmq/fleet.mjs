// BullMQ's producer and its processes of workers, with and without a record of its own in PostgreSQL.

import path from "node:path";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { redisOptions, spawnSupervised, stopSupervised } from "../shared/driver.mjs";

/// The packages stand in the folder that `install` filled.
export const installed = createRequire(path.join(process.env.TARGET, "package.json"));
const { Queue } = installed("bullmq");

/// The queues of the worker stages, in their order.
export const STAGES = ["etl", "embedding", "judge", "publish"];
/// The same with the queue whose workers write an event's own row.
export const RECORDED = ["accept", ...STAGES];

/// A worker's jobs at once, for each queue.
export const CONCURRENCY = 50;

/// Job ids must not be numbers.
export const jobOf = (event) => `e${event}`;

/// What a job is added with. Its id makes the hand-over to the next queue safe to repeat.
export function optionsOf(event, recorded) {
  return { jobId: jobOf(event), removeOnComplete: recorded, attempts: 3 };
}

const worker = fileURLToPath(new URL("worker.mjs", import.meta.url));

/// One producer and some processes of workers.
export class Fleet {
  constructor(stages, recorded) {
    this.stages = stages;
    this.recorded = recorded;
    this.chunk = 256;
    this.senders = 4;
    this.processes = [];
  }

  async start({ folder, workers, ends }) {
    this.queue = new Queue(this.stages[0], { connection: redisOptions() });
    for (let number = 0; number < workers; number += 1) {
      const log = path.join(folder, `worker-${number}.log`);
      const args = [worker, ends, this.recorded ? "recorded" : "alone"];
      this.processes.push(spawnSupervised(log, process.execPath, args));
    }
  }

  async offer(events) {
    await this.queue.addBulk(
      events.map(({ event, payload }) => ({
        name: this.stages[0],
        data: payload,
        opts: optionsOf(event, this.recorded),
      })),
    );
  }

  async stop() {
    await stopSupervised(this.processes);
    await this.queue?.close();
  }
}
