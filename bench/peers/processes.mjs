// Piscina at suite `process`: one line for each line it reads (the protocol is told in src/peer.rs).
//
// Its workers are threads with an interpreter each, which is what Node.js has for such work: a crash takes all of them along. It has
// no map; 128 tasks are under way. ROPEWALK_BENCH_NODE is where the packages are installed.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { isMainThread } from "node:worker_threads";

const AHEAD = 128;
const MIB = 1 << 20;

// What a worker does.
export const identity = (value) => value;
export const length = (bytes) => bytes.length;

const assert = (holds, what) => {
  if (!holds) throw new Error(what);
};

async function timed(body) {
  const cpu = process.cpuUsage();
  const begin = process.hrtime.bigint();
  const result = await body();
  const wall = Number(process.hrtime.bigint() - begin) / 1e9;
  const used = process.cpuUsage(cpu);
  return { result, wall, cores: (used.user + used.system) / 1e6 / wall };
}

const answer = (value, cores) => `ok ${value.toFixed(6)} ${cores.toFixed(3)}`;

function works(Piscina) {
  const open = async (workers) => {
    const pool = new Piscina({ filename: fileURLToPath(import.meta.url), minThreads: workers, maxThreads: workers });
    assert((await pool.run(7, { name: "identity" })) === 7, "a wrong result");
    return pool;
  };

  const within = async (workers, body) => {
    const pool = await open(workers);
    const spent = await timed(() => body(pool));
    await pool.destroy();
    return spent;
  };

  // The sum over `count` tasks, of which AHEAD are under way.
  const sum = async (pool, count, name, value) => {
    let next = 0;
    let total = 0;
    const lane = async () => {
      while (next < count) {
        // Read after the wait: the other lanes add too.
        const one = await pool.run(value(next++), { name });
        total += one;
      }
    };
    await Promise.all(Array.from({ length: AHEAD }, lane));
    return total;
  };

  const tiny = async (quick) => {
    const count = quick ? 2000 : 20000;
    const { result, wall, cores } = await within(2, (pool) => sum(pool, count, "identity", (n) => n));
    assert(result === (count * (count - 1)) / 2, "a wrong sum");
    return answer((wall * 1e9) / count, cores);
  };

  return {
    async roundtrip(quick) {
      const count = quick ? 600 : 4000;
      const { result, wall, cores } = await within(1, async (pool) => {
        let total = 0;
        for (let n = 0; n < count; n++) total += await pool.run(n, { name: "identity" });
        return total;
      });
      assert(result === (count * (count - 1)) / 2, "a wrong sum");
      return answer((wall * 1e6) / count, cores);
    },
    "map.tiny": tiny,
    "map.tiny.chunk100": tiny,
    async "payload.1mib"(quick) {
      const count = quick ? 30 : 150;
      const data = new Uint8Array(MIB).fill(7);
      const { result, wall, cores } = await within(2, (pool) => sum(pool, count, "length", () => data));
      assert(result === count * MIB, "a wrong length");
      return answer(count / wall, cores);
    },
    async "start.small"(quick) {
      const count = quick ? 5 : 20;
      const { wall, cores } = await timed(async () => {
        for (let n = 0; n < count; n++) await (await open(1)).destroy();
      });
      return answer((wall * 1e6) / count, cores);
    },
  };
}

if (isMainThread) {
  const require = createRequire(process.env.ROPEWALK_BENCH_NODE + "/package.json");
  const known = works(require("piscina").Piscina);
  for await (const line of createInterface({ input: process.stdin })) {
    const [name, effort] = line.split(" ");
    let reply;
    if (name === "works") {
      reply = effort === "process" ? [...Object.keys(known), "-"].join(" ") : "-";
    } else if (!(name in known)) {
      reply = `error no work ${name}`;
    } else {
      reply = await known[name](effort !== "full").catch((error) => `error ${error.message}`);
    }
    console.log(reply);
  }
  process.exit();
}
