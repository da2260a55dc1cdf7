// The ground-truth programs for Node.js: node programs.js cpu MILLIONS | http-seq PORT COUNT | http-many PORT COUNT FLIGHT |
// blocked-server SECONDS MILLIONS
"use strict";
const fs = require("node:fs");
const http = require("node:http");
const net = require("node:net");
const { fork } = require("node:child_process");

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
  } else if (name === "asks") {
    // A client of the next, in a process of its own.
    const socket = net.connect(Number(rest[0]), "127.0.0.1");
    socket.on("data", () => socket.write("x"));
    socket.write("x");
    await new Promise(done => socket.on("close", done));
  } else if (name === "blocked-server") {
    const server = net.createServer(socket => {
      socket.on("error", () => {});
      socket.on("data", () => {
        compute(Number(rest[1]));
        socket.write("ok");
      });
    });
    await new Promise(done => server.listen(0, "127.0.0.1", done));
    const clients = Array.from({ length: 4 }, () => fork(__filename, ["asks", server.address().port]));
    await new Promise(done => setTimeout(done, 1000 * Number(rest[0])));
    clients.forEach(client => client.kill("SIGKILL"));
    server.close();
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
