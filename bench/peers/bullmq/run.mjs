// BullMQ alone: results are kept as the return values of completed jobs.

import { drive, redisOptions, resultOf } from "../shared/driver.mjs";
import { Fleet, STAGES, installed, jobOf } from "./fleet.mjs";

class Alone extends Fleet {
  constructor() {
    super(STAGES, false);
  }

  async mismatches(first, count) {
    const Redis = installed("ioredis");
    const redis = new Redis(redisOptions());
    const wrong = new Set();
    for (const stage of this.stages) {
      for (let from = first; from < first + count; from += this.chunk) {
        const pipeline = redis.pipeline();
        const until = Math.min(from + this.chunk, first + count);
        for (let event = from; event < until; event += 1) {
          pipeline.hmget(`bull:${stage}:${jobOf(event)}`, "returnvalue", "ats");
        }
        const answers = await pipeline.exec();
        answers.forEach(([, [result, started]], index) => {
          const expected = JSON.stringify(resultOf(from + index, stage));
          if (result !== expected || started !== "1") wrong.add(from + index);
        });
      }
    }
    redis.disconnect();
    return wrong.size;
  }
}

await drive(new Alone());
