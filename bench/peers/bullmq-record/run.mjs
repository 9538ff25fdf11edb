// BullMQ with a record: every stage commits a row in PostgreSQL before its job is completed.

import { drive } from "../shared/driver.mjs";
import { Fleet, RECORDED, installed } from "../bullmq/fleet.mjs";

class WithRecord extends Fleet {
  constructor() {
    super(RECORDED, true);
    const { Pool } = installed("pg");
    this.pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 1 });
  }

  async start(place) {
    await this.pool.query(
      `CREATE TABLE results (event bigint, stage text, body json NOT NULL,
                             at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (event, stage))`,
    );
    await super.start(place);
  }

  async mismatches(first, count) {
    const { rows } = await this.pool.query(
      `SELECT count(*) FROM (SELECT event FROM results WHERE event >= $1 AND event < $2 AND stage = ANY($3)
                             GROUP BY event HAVING count(*) = $4) AS whole`,
      [first, first + count, this.stages, this.stages.length],
    );
    return count - Number(rows[0].count);
  }

  async stop() {
    await super.stop();
    await this.pool.end();
  }
}

await drive(new WithRecord());
