// A process of BullMQ workers, one for each queue: worker.mjs ENDS alone|recorded

import { noteEnds, redisOptions, resultOf } from "../shared/driver.mjs";
import { CONCURRENCY, RECORDED, STAGES, installed, optionsOf } from "./fleet.mjs";

/// A process's connections to PostgreSQL: commits of so many jobs reach the disk together.
const CONNECTIONS = 32;

const [ends, kind] = process.argv.slice(2);
const recorded = kind === "recorded";
const stages = recorded ? RECORDED : STAGES;
const { Queue, Worker } = installed("bullmq");
const noted = noteEnds(ends);
const keep = recorded ? await record() : async () => {};

/// Inserts a stage's row and commits it.
async function record() {
  const pg = installed("pg");
  const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: CONNECTIONS });
  return (event, stage, body) =>
    pool.query({
      name: "keep",
      text: "INSERT INTO results (event, stage, body) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
      values: [event, stage, body],
    });
}

const workers = stages.map((stage, index) => {
  const following = stages[index + 1];
  const next = following && new Queue(following, { connection: redisOptions() });
  const processor = async (job) => {
    const { event } = job.data;
    const result = stage === "accept" ? job.data : resultOf(event, stage);
    await keep(event, stage, result);
    if (next) await next.add(following, result, optionsOf(event, recorded));
    return recorded ? undefined : result;
  };
  const worker = new Worker(stage, processor, {
    connection: { ...redisOptions(), maxRetriesPerRequest: null },
    concurrency: CONCURRENCY,
  });
  worker.on("error", (error) => console.error(error));
  worker.on("failed", (job, error) => console.error(job?.id, error));
  if (!next) worker.on("completed", (job) => noted(job.data.event));
  return worker;
});

process.on("SIGTERM", async () => {
  await Promise.all(workers.map((worker) => worker.close()));
  process.exit(0);
});
