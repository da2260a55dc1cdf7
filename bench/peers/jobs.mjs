// BullMQ at suite `jobs`: one line for each line it reads (the protocol is told in src/peer.rs).
//
// As its documentation has it: one Worker with a `concurrency`, which keeps what is completed. The Redis is that of the run, which
// ROPEWALK_BENCH_REDIS names; ROPEWALK_BENCH_NODE is where the packages are installed.

import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(process.env.ROPEWALK_BENCH_NODE + "/package.json");
const { Queue, QueueEvents, Worker } = require("bullmq");
const { Redis } = require("ioredis");

const ADDRESS = process.env.ROPEWALK_BENCH_REDIS;
const PAYLOAD = ["a/picture/of/something.png", 640, 480, { quality: 80, rotate: false, owner: "somebody" }];
const NAME = "bench";
const BATCH = 1000;

let sent = 0;
const send = Redis.prototype.sendCommand;
Redis.prototype.sendCommand = function (...rest) {
  sent += 1;
  return send.apply(this, rest);
};

const connect = () => new Redis(ADDRESS, { maxRetriesPerRequest: null });
const admin = connect();

async function figures() {
  const info = await admin.info("all");
  const value = (name) => Number(info.match(new RegExp(`^${name}:(.*)$`, "m"))[1]);
  return { commands: value("total_commands_processed"), cpu: value("used_cpu_user") + value("used_cpu_sys") };
}

async function timed(body) {
  const cpu = process.cpuUsage();
  const begin = process.hrtime.bigint();
  await body();
  const wall = Number(process.hrtime.bigint() - begin) / 1e9;
  const used = process.cpuUsage(cpu);
  return { wall, cores: (used.user + used.system) / 1e6 / wall };
}

function answer(value, cores, extra = {}) {
  const more = Object.entries(extra).map(([name, value]) => ` ${name}=${value.toFixed(6)}`);
  return `ok ${value.toFixed(6)} ${cores.toFixed(3)}${more.join("")}`;
}

async function fill(queue, count, name, data) {
  for (let from = 0; from < count; from += BATCH) {
    const jobs = Array.from({ length: Math.min(BATCH, count - from) }, () => ({ name, data }));
    await queue.addBulk(jobs);
  }
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
// What a job of each name does.
const process_ = async (job) => (job.name === "nap" ? sleep(job.data) : undefined);

async function withQueue(body) {
  const connection = connect();
  const queue = new Queue(NAME, { connection });
  await queue.waitUntilReady();
  try {
    return await body(queue);
  } finally {
    await queue.close();
    await connection.quit();
  }
}

const enqueueOne = (quick) =>
  withQueue(async (queue) => {
    const count = quick ? 200 : 1500;
    const { wall, cores } = await timed(async () => {
      for (let n = 0; n < count; n += 1) await queue.add("noop", PAYLOAD);
    });
    if ((await queue.getWaitingCount()) !== count) throw new Error("jobs are missing");
    return answer(count / wall, cores);
  });

const enqueueBatch = (quick) =>
  withQueue(async (queue) => {
    const count = quick ? 5000 : 50000;
    const { wall, cores } = await timed(() => fill(queue, count, "noop", PAYLOAD));
    if ((await queue.getWaitingCount()) !== count) throw new Error("jobs are missing");
    return answer(count / wall, cores);
  });

const work = (concurrency, full, few, name, data) => (quick) =>
  withQueue(async (queue) => {
    const count = quick ? few : full;
    await fill(queue, count, name, data);
    const connection = connect();
    const worker = new Worker(NAME, process_, { connection, concurrency, autorun: false });
    await worker.waitUntilReady();
    const before = await figures();
    const sentBefore = sent;
    let done = 0;
    const { wall, cores } = await timed(
      () =>
        new Promise((resolve, reject) => {
          worker.on("completed", () => (done += 1) === count && resolve());
          worker.on("failed", (_, error) => reject(error));
          worker.run().catch(reject);
        }),
    );
    const trips = sent - sentBefore;
    const after = await figures();
    await worker.close();
    await connection.quit();
    if ((await queue.getCompletedCount()) !== count) throw new Error("jobs are missing");
    return answer(count / wall, cores, {
      roundtrips: trips / count,
      commands: (after.commands - before.commands) / count,
      "broker.cpu": ((after.cpu - before.cpu) / count) * 1e6,
    });
  });

// A worker in a process of its own, ready.
async function started(concurrency) {
  const other = spawn(process.execPath, [process.argv[1], "worker", String(concurrency)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  await new Promise((resolve, reject) => {
    other.stdout.once("data", resolve);
    other.once("exit", () => reject(new Error("the worker ended")));
  });
  const end = () =>
    new Promise((resolve) => {
      other.once("exit", resolve);
      other.kill();
    });
  return { pid: other.pid, end };
}

const latency = (quick) =>
  withQueue(async (queue) => {
    const other = await started(1);
    const connection = connect();
    const events = new QueueEvents(NAME, { connection });
    await events.waitUntilReady();
    const once = async () => {
      const begin = process.hrtime.bigint();
      const job = await queue.add("noop", PAYLOAD);
      await job.waitUntilFinished(events, 10000);
      return Number(process.hrtime.bigint() - begin) / 1e3;
    };
    for (let n = 0; n < 10; n += 1) await once();
    const us = [];
    const { cores } = await timed(async () => {
      for (let n = 0; n < (quick ? 60 : 400); n += 1) us.push(await once());
    });
    await events.close();
    await connection.quit();
    await other.end();
    us.sort((a, b) => a - b);
    const at = (share) => us[Math.floor((us.length - 1) * share)];
    return answer(0, cores, { p50: at(0.5), p99: at(0.99) });
  });

// The CPU time of a process, in seconds: of all its threads.
function cpuOf(pid) {
  const tasks = `/proc/${pid}/task`;
  const times = readdirSync(tasks).map((tid) => Number(readFileSync(`${tasks}/${tid}/schedstat`, "utf8").split(" ")[0]));
  return times.reduce((sum, ns) => sum + ns, 0) / 1e9;
}

async function idle(quick) {
  const other = await started(10);
  await sleep(500);
  const before = cpuOf(other.pid);
  const { wall, cores } = await timed(() => sleep(quick ? 1000 : 3000));
  const cpu = cpuOf(other.pid) - before;
  await other.end();
  return answer((100 * cpu) / wall, cores);
}

const WORKS = {
  "enqueue.one": enqueueOne,
  "enqueue.batch": enqueueBatch,
  "noop.c1": work(1, 1500, 200, "noop", PAYLOAD),
  "noop.c50": work(50, 50000, 5000, "noop", PAYLOAD),
  "sleep.5ms": work(50, 5000, 500, "nap", 5),
  "sleep.200ms": work(50, 500, 100, "nap", 200),
  latency,
  "idle.cpu": idle,
};

if (process.argv[2] === "worker") {
  const worker = new Worker(NAME, process_, { connection: connect(), concurrency: Number(process.argv[3]) });
  await worker.waitUntilReady();
  console.log("ready");
} else {
  for await (const line of createInterface({ input: process.stdin })) {
    const [name, effort] = line.split(" ");
    let reply;
    if (name === "works") {
      reply = effort === "jobs" ? Object.keys(WORKS).join(" ") : "";
    } else if (!(name in WORKS)) {
      reply = `error no work ${name}`;
    } else {
      await admin.flushall();
      reply = await WORKS[name](effort !== "full").catch((error) => `error ${error.message}`);
    }
    console.log(reply);
  }
  process.exit();
}
