// What the contenders written in JavaScript share: the load, the clock and the talk with the harness (README.md).
//
// A contender is an object with
//   chunk, senders          events offered at once in a flood, and how many such offers are under way
//   start({ folder, workers, ends })   starts what it needs; its workers note in the file `ends` what ended when
//   offer(events)           gives events to it; resolves when they are accepted
//   mismatches(first, count)   how many of these events did not pass every stage exactly once
//   stop()                  stops what `start` started; called once, also in the middle of a start

import fs from "node:fs";
import path from "node:path";
import readline from "node:readline";
import { spawn } from "node:child_process";

/// Events carried before the measured ones.
const WARM_UP = 1000;
/// Bytes of an event's payload and of a stage's result, as JSON.
const PAYLOAD = 600;
export const RESULT = 300;
/// The pace of a steady load, in milliseconds.
const TICK = 10;
/// How often the file of ends is looked at, in milliseconds.
const LOOK = 5;
/// How long no event may end before the load is given up, in milliseconds.
const PATIENCE = 60_000;

/// Milliseconds since 1970, with fractions: the same clock in every process of this machine.
export const now = () => performance.timeOrigin + performance.now();

function padded(fields, last, bytes) {
  const empty = JSON.stringify({ ...fields, [last]: "" }).length;
  const text = "the quick brown fox ".repeat(Math.ceil(bytes / 20)).slice(0, bytes - empty);
  return { ...fields, [last]: text };
}

/// The payload of an event: an object that is 600 bytes of JSON.
export const payloadOf = (event) => padded({ event, title: `Event ${event}` }, "body", PAYLOAD);

/// What a stage keeps of an event: an object that is 300 bytes of JSON.
export const resultOf = (event, stage) => padded({ event, stage }, "result", RESULT);

/// Notes an event's end; returns the function that workers call.
export function noteEnds(file) {
  const ends = fs.openSync(file, "a");
  return (event) => fs.writeSync(ends, `${event} ${now().toFixed(3)}\n`);
}

/// `redis://host:port` or `redis+unix:///path`, as ioredis takes it.
export function redisOptions(url = process.env.REDIS_URL) {
  const parsed = new URL(url);
  if (parsed.protocol === "redis+unix:") return { path: parsed.pathname };
  return { host: parsed.hostname, port: Number(parsed.port || 6379) };
}

/// Starts a program that is killed when this process ends, however it ends. Its output goes to a file.
export function spawnSupervised(log, command, args, options = {}) {
  const file = fs.openSync(log, "a");
  const child = spawn("setpriv", ["--pdeathsig", "KILL", "--", command, ...args], {
    ...options,
    stdio: ["ignore", file, file],
  });
  child.ended = new Promise((resolve) => child.on("exit", resolve));
  fs.closeSync(file);
  return child;
}

/// Stops programs: SIGTERM, and SIGKILL after ten seconds.
export async function stopSupervised(children) {
  for (const child of children) child.kill("SIGTERM");
  const kill = setTimeout(() => children.forEach((child) => child.kill("SIGKILL")), 10_000);
  await Promise.all(children.map((child) => child.ended));
  clearTimeout(kill);
}

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/// The file of ends, read as it grows.
class Ends {
  constructor(file) {
    this.file = fs.openSync(file, "a+");
    this.offset = 0;
    this.rest = "";
    this.at = new Map();
    this.buffer = Buffer.alloc(1 << 20);
  }

  look() {
    for (;;) {
      const read = fs.readSync(this.file, this.buffer, 0, this.buffer.length, this.offset);
      if (read === 0) return;
      this.offset += read;
      const lines = (this.rest + this.buffer.toString("latin1", 0, read)).split("\n");
      this.rest = lines.pop();
      for (const line of lines) {
        const [event, at] = line.split(" ");
        if (!this.at.has(+event)) this.at.set(+event, +at);
      }
    }
  }

  /// Waits until `count` events have ended in all, or none does for a long time.
  async reach(count) {
    let [before, since] = [this.at.size, now()];
    for (this.look(); this.at.size < count && now() - since < PATIENCE; this.look()) {
      if (this.at.size > before) [before, since] = [this.at.size, now()];
      await sleep(LOOK);
    }
  }
}

const range = (first, count) => Array.from({ length: count }, (_, index) => first + index);
const eventOf = (event) => ({ event, payload: payloadOf(event) });

async function flood(peer, ends, first, count) {
  const began = now();
  let next = first;
  const sender = async () => {
    while (next < first + count) {
      const events = range(next, Math.min(peer.chunk, first + count - next)).map(eventOf);
      next += events.length;
      await peer.offer(events);
    }
  };
  await Promise.all(range(0, peer.senders).map(sender));
  await ends.reach(first + count);
  return { events: count, due: () => began, latency: false };
}

async function steady(peer, ends, first, rate, seconds) {
  const began = now();
  const count = Math.floor(rate * seconds);
  const due = (event) => began + ((event - first) * 1000) / rate;
  const offers = [];
  for (let sent = 0; sent < count; await sleep(TICK)) {
    const until = Math.min(count, Math.floor(((now() - began) / 1000) * rate) + 1);
    if (until > sent) offers.push(peer.offer(range(first + sent, until - sent).map(eventOf)));
    sent = until;
  }
  await Promise.all(offers);
  await ends.reach(first + count);
  return { events: count, due, latency: true };
}

function summary(load, ends, first, errors) {
  const ids = range(first, load.events).filter((event) => ends.at.has(event));
  const last = ids.reduce((latest, event) => Math.max(latest, ends.at.get(event)), 0);
  const taken = ids.map((event) => ends.at.get(event) - load.due(event)).sort((a, b) => a - b);
  const rounded = (value) => Number(value.toFixed(3));
  const measured = load.latency && taken.length > 0;
  const part = (share) => (measured ? rounded(taken[Math.ceil(share * taken.length) - 1]) : null);
  return {
    events: load.events,
    seconds: rounded((last - load.due(first)) / 1000),
    p50_ms: part(0.5),
    p95_ms: part(0.95),
    p99_ms: part(0.99),
    max_ms: part(1),
    errors,
  };
}

/// Runs a contender as the command line says: `flood EVENTS` or `steady RATE SECONDS`.
export async function drive(peer) {
  const [kind, ...numbers] = process.argv.slice(2);
  const folder = process.env.FOLDER;
  const file = path.join(folder, "ends");
  const [line, closed] = harness();
  let stopping;
  const stop = () => (stopping ??= peer.stop());
  const give_up = async (code) => {
    await stop();
    process.exit(code);
  };
  process.on("SIGTERM", () => give_up(143));
  process.on("SIGINT", () => give_up(130));
  let measured = false;
  closed.then(() => measured || give_up(1));
  try {
    const ends = new Ends(file);
    await peer.start({ folder, workers: Number(process.env.WORKERS || 1), ends: file });
    await flood(peer, ends, 0, WARM_UP);
    console.log("ready");
    await line;
    const load =
      kind === "flood"
        ? await flood(peer, ends, WARM_UP, Number(numbers[0]))
        : await steady(peer, ends, WARM_UP, Number(numbers[0]), Number(numbers[1]));
    const errors = await peer.mismatches(WARM_UP, load.events);
    measured = true;
    console.log(JSON.stringify(summary(load, ends, WARM_UP, errors)));
    await closed;
    await give_up(0);
  } catch (error) {
    console.error(error);
    await give_up(70);
  }
}

/// The harness's line on standard input, and its end.
function harness() {
  const lines = readline.createInterface({ input: process.stdin });
  const line = new Promise((resolve) => lines.once("line", resolve));
  const closed = new Promise((resolve) => lines.once("close", resolve));
  return [line, closed];
}
