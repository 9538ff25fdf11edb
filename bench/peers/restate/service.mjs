// The service, in some processes that share one port: service.mjs PORT PROCESSES ENDS

import "./polyfill.mjs";
import cluster from "node:cluster";
import path from "node:path";
import { createRequire } from "node:module";
import { noteEnds, resultOf } from "../shared/driver.mjs";
import { STEPS } from "./steps.mjs";

const [port, processes, ends] = process.argv.slice(2);

if (cluster.isPrimary) {
  for (let number = 0; number < Number(processes); number += 1) cluster.fork();
  process.on("SIGTERM", () => cluster.disconnect(() => process.exit(0)));
} else {
  const restate = createRequire(path.join(process.env.TARGET, "package.json"))("@restatedev/restate-sdk");
  const noted = noteEnds(ends);
  const bench = restate.service({
    name: "bench",
    handlers: {
      carry: async (ctx, { event }) => {
        for (const step of STEPS) await ctx.run(step, () => resultOf(event, step));
        noted(event);
      },
    },
  });
  await restate.serve({ services: [bench], port: Number(port) });
}
