// The ground-truth programs for Node.js: node programs.js cpu MILLIONS | http-seq PORT COUNT | http-many PORT COUNT FLIGHT
"use strict";
const fs = require("node:fs");
const http = require("node:http");

const began = process.hrtime.bigint();
let network = 0;

function compute(millions) {
  let x = 1;
  for (let i = 0; i < millions * 1e6; i++) x = (Math.imul(x, 31) + i) | 0;
  return x;
}

const agent = new http.Agent({ keepAlive: true });

function get(port) {
  return new Promise((done, failed) =>
    http
      .get({ port, host: "127.0.0.1", agent }, r => {
        r.resume();
        r.on("end", done);
      })
      .on("error", failed),
  );
}

async function main([name, ...rest]) {
  if (name === "cpu") {
    compute(Number(rest[0]));
  } else {
    const [port, count, flight] = rest.map(Number);
    const start = process.hrtime.bigint();
    const cpu = process.cpuUsage();
    let left = count;
    const one = async () => {
      while (left-- > 0) await get(port);
    };
    await Promise.all(Array.from({ length: flight || 1 }, one));
    const used = process.cpuUsage(cpu);
    network = Number(process.hrtime.bigint() - start) / 1e9 - (used.user + used.system) / 1e6;
    agent.destroy();
  }
}

main(process.argv.slice(2)).then(() => {
  if (!process.env.TRUTH) return;
  const { user, system } = process.cpuUsage();
  const wall = Number(process.hrtime.bigint() - began) / 1e9;
  fs.writeFileSync(process.env.TRUTH, JSON.stringify({ wall, cpu: (user + system) / 1e6, network }));
});
