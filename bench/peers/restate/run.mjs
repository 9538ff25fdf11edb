// Restate: one handler of five durable steps, whose results its journal keeps.

import fs from "node:fs";
import http2 from "node:http2";
import net from "node:net";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { RESULT, drive, spawnSupervised, stopSupervised } from "../shared/driver.mjs";
import { STEPS } from "./steps.mjs";

/// How long the server and the service may take to answer, in milliseconds.
const READY = 60_000;

const service = fileURLToPath(new URL("service.mjs", import.meta.url));
const server = path.join(
  process.env.TARGET,
  `node_modules/@restatedev/restate-server-${process.platform}-${process.arch}/bin/restate-server`,
);

/// A port that nobody listens to at the moment.
async function freePort() {
  const listener = net.createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => listener.once("listening", resolve));
  const { port } = listener.address();
  await new Promise((resolve) => listener.close(resolve));
  return port;
}

/// Repeats an attempt until it succeeds.
async function eventually(attempt) {
  const until = Date.now() + READY;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > until) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

async function answered(url, options) {
  const response = await fetch(url, options);
  if (!response.ok) throw new Error(`${url} answered ${response.status}: ${await response.text()}`);
  return response;
}

function posted(url, body) {
  const headers = { "content-type": "application/json", accept: "application/json" };
  return answered(url, { method: "POST", headers, body: JSON.stringify(body) });
}

class Restate {
  constructor() {
    this.chunk = 256;
    this.senders = 4;
    this.processes = [];
    this.invocations = new Map();
  }

  async start({ folder, workers, ends }) {
    const [ingress, admin, node, port] = await Promise.all([freePort(), freePort(), freePort(), freePort()]);
    this.admin = `http://127.0.0.1:${admin}`;
    const config = path.join(folder, "restate.toml");
    fs.writeFileSync(config, configuration(folder, { ingress, admin, node }));
    this.processes.push(spawnSupervised(path.join(folder, "server.log"), server, ["--config-file", config]));
    const args = [service, `${port}`, `${workers}`, ends];
    this.processes.push(spawnSupervised(path.join(folder, "service.log"), process.execPath, args));
    await eventually(() => posted(`${this.admin}/deployments`, { uri: `http://127.0.0.1:${port}` }));
    this.ingress = http2.connect(`http://127.0.0.1:${ingress}`);
    await eventually(() => answered(`http://127.0.0.1:${ingress}/restate/health`));
  }

  async offer(events) {
    await Promise.all(
      events.map(async ({ event, payload }) => {
        const { invocationId } = JSON.parse(await this.send(JSON.stringify(payload)));
        this.invocations.set(event, invocationId);
      }),
    );
  }

  /// Adds an invocation; resolves with the answer when it is durable.
  send(body) {
    return new Promise((resolve, reject) => {
      const headers = { ":method": "POST", ":path": "/bench/carry/send", "content-type": "application/json" };
      const request = this.ingress.request(headers);
      request.on("error", reject);
      let [status, answer] = [0, ""];
      request.on("response", (headers) => (status = headers[":status"]));
      request.on("data", (chunk) => (answer += chunk));
      request.on("end", () => {
        if (status === 202) resolve(answer);
        else reject(new Error(`the ingress answered ${status}: ${answer}`));
      });
      request.end(body);
    });
  }

  /// Counts what the journal holds of every invocation: a command and a result for each step.
  async mismatches(first, count) {
    const commands = await this.counted("Command: Run", "count(DISTINCT name)", 0);
    const results = await this.counted("Notification: Run", "count(*)", RESULT);
    const whole = (event) => {
      const id = this.invocations.get(event);
      return commands.get(id) === STEPS.length && results.get(id) === STEPS.length;
    };
    return Array.from({ length: count }, (_, index) => first + index).filter((event) => !whole(event)).length;
  }

  /// Counts each invocation's entries of a type and of at least so many bytes.
  async counted(type, what, bytes) {
    const query = `SELECT id, ${what} AS entries FROM sys_journal
                   WHERE entry_type = '${type}' AND raw_length >= ${bytes} GROUP BY id`;
    const { rows } = await (await posted(`${this.admin}/query`, { query })).json();
    return new Map(rows.map(({ id, entries }) => [id, entries]));
  }

  async stop() {
    this.ingress?.destroy();
    await stopSupervised(this.processes);
  }
}

function configuration(folder, { ingress, admin, node }) {
  return `
base-dir = "${path.join(folder, "restate-data")}"
node-name = "bench"
cluster-name = "bench"
bind-address = "127.0.0.1:${node}"
advertised-address = "http://127.0.0.1:${node}/"
auto-provision = true
disable-telemetry = true
log-filter = "warn"

[ingress]
bind-address = "127.0.0.1:${ingress}"

[admin]
bind-address = "127.0.0.1:${admin}"
`;
}

await drive(new Restate());
