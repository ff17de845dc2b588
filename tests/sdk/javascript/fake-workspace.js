"use strict";
// A databricks-sim process of our own, its controls, an issuer of identity tokens, and clients of the SDK.
const assert = require("node:assert/strict");
const { spawn } = require("node:child_process");
const { mkdtempSync, rmSync, writeFileSync } = require("node:fs");
const http = require("node:http");
const { devNull, tmpdir } = require("node:os");
const { join, resolve } = require("node:path");
const { createInterface } = require("node:readline");
const { after, before, beforeEach } = require("node:test");
const { WorkspaceClient } = require("@databricks/sdk-experimental");
const jose = require("jose");

const BINARY = process.env.DATABRICKS_SIM || resolve(__dirname, "../../../target/debug/databricks-sim");
const TOKEN = "dapi-ann";
const ANN = "ann@example.com";
const BOB = "bob@example.com";
const CLIENT_ID = "11111111-2222-4333-8444-555555555555";
const CLIENT_SECRET = "dose-secret";
const FEDERATED_ID = "22222222-3333-4444-8555-666666666666";
const EMBEDDED_ID = "33333333-4444-4555-8666-777777777777";
const SUBJECT = "system:serviceaccount:apps:operator";
const AUDIENCE = "databricks-sim";
const SOURCE = "/Workspace/Users/ann@example.com/demo";
// A create takes 180 s there and 0.3 s here; waiters of the SDK then sleep once, for a second or two.
const SCALE = 600;

// Signs JSON Web Tokens, and shows its keys under /.well-known/openid-configuration on a loopback port.
class Issuer {
  static async start() {
    const issuer = new Issuer();
    const { publicKey, privateKey } = await jose.generateKeyPair("RS256");
    issuer.privateKey = privateKey;
    issuer.keys = { keys: [{ ...(await jose.exportJWK(publicKey)), kid: "one", use: "sig", alg: "RS256" }] };
    issuer.server = http.createServer((request, answer) => {
      const documents = {
        "/.well-known/openid-configuration": { issuer: issuer.url, jwks_uri: `${issuer.url}/keys` },
        "/keys": issuer.keys,
      };
      const body = documents[request.url];
      answer.writeHead(body ? 200 : 404).end(JSON.stringify(body));
    });
    await new Promise((listening) => issuer.server.listen(0, "127.0.0.1", listening));
    issuer.url = `http://127.0.0.1:${issuer.server.address().port}`;
    return issuer;
  }

  // A token that fits the policies of the seed, but for the claims given; `key` stands in for the issuer's own.
  sign(claims = {}, key = this.privateKey) {
    const now = Math.floor(Date.now() / 1000);
    const fitting = { iss: this.url, sub: SUBJECT, aud: AUDIENCE, iat: now, exp: now + 600 };
    return new jose.SignJWT({ ...fitting, ...claims }).setProtectedHeader({ alg: "RS256", kid: "one" }).sign(key);
  }

  stop() {
    this.server.close();
    this.server.closeAllConnections();
  }
}

// Whom and what the workspace knows. JSON is YAML, too.
function seed(issuer) {
  const trust = (servicePrincipal, keys) => ({
    service_principal: servicePrincipal,
    oidc_policy: { issuer: issuer.url, subject: SUBJECT, audiences: [AUDIENCE], ...keys },
  });
  return {
    users: [{ user_name: BOB, display_name: "Bob" }],
    groups: [{ name: "analysts", members: [ANN] }],
    service_principals: [
      { application_id: FEDERATED_ID, display_name: "ci" },
      { application_id: EMBEDDED_ID, display_name: "embedded" },
    ],
    warehouses: ["wh-1"],
    secret_scopes: [{ name: "prod", secrets: { "api-key": "s3cret" } }],
    federation_policies: [trust(FEDERATED_ID), trust(EMBEDDED_ID, { jwks_json: JSON.stringify(issuer.keys) })],
  };
}

class FakeWorkspace {
  static async start(issuer) {
    const sim = new FakeWorkspace();
    sim.folder = mkdtempSync(join(tmpdir(), "databricks-sim-"));
    const path = join(sim.folder, "seed.yaml");
    writeFileSync(path, JSON.stringify(seed(issuer)));
    sim.process = spawn(
      BINARY,
      [
        "--listen=127.0.0.1:0",
        `--time-scale=${SCALE}`,
        `--seed=${path}`,
        `--pat=${TOKEN}=${ANN}`,
        `--oauth-client=${CLIENT_ID}:${CLIENT_SECRET}`,
      ],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    sim.ended = new Promise((ended) => {
      sim.process.on("exit", ended);
      sim.process.on("error", ended);
    });
    // Whatever ends this process ends the other one.
    sim.kill = () => sim.process.kill("SIGKILL");
    process.on("exit", sim.kill);
    const lines = createInterface({ input: sim.process.stdout });
    const line = await Promise.race([
      new Promise((first) => lines.once("line", first)),
      sim.ended.then((why) => `it ended: ${why}`),
    ]);
    assert.match(line, /^listening on /, `${BINARY} did not start; build it with cargo build -p databricks-sim`);
    sim.url = line.replace("listening on ", "").trim();
    return sim;
  }

  async stop() {
    this.process.kill("SIGTERM");
    await this.ended;
    process.off("exit", this.kill);
    rmSync(this.folder, { recursive: true });
  }

  // A client of the SDK; by default Ann's, with her personal access token. Nothing of the machine's own configuration
  // takes part.
  client(settings = { token: TOKEN }) {
    return new WorkspaceClient({ host: this.url, env: {}, configFile: devNull, ...settings });
  }

  // A call to /sim; returns its JSON.
  async control(method, path, body) {
    const answer = await fetch(this.url + path, { method, body: body && JSON.stringify(body) });
    const text = await answer.text();
    assert.equal(answer.status, 200, text);
    return JSON.parse(text);
  }

  fault(fault) {
    return this.control("POST", "/sim/faults", fault);
  }

  advance(by) {
    return this.control("POST", "/sim/clock", { advance: by });
  }

  // How often a route was called, by status.
  async counts(method, route) {
    const { totals } = await this.control("GET", "/sim/requests");
    const own = totals.filter((t) => t.method === method && t.route === route);
    return Object.fromEntries(own.map((t) => [t.status, t.count]));
  }

  async last(method, route) {
    const { recent } = await this.control("GET", "/sim/requests");
    return recent.filter((r) => r.method === method && r.route === route).at(-1);
  }

  // Creates an app without compute.
  async stopped(w, app = { name: "demo" }) {
    return w.apps.create({ app, no_compute: true });
  }

  // Creates an app with compute and nothing deployed.
  async active(w, app = { name: "demo" }) {
    await w.apps.create({ app });
    await this.advance("4m");
    return w.apps.get({ name: app.name });
  }

  // Creates an app whose deployment has succeeded.
  async running(w) {
    await this.active(w);
    await w.workspace.mkdirs({ path: SOURCE });
    await w.apps.deploy({ app_name: "demo", app_deployment: { source_code_path: SOURCE } });
    await this.advance("2m");
    return w.apps.get({ name: "demo" });
  }
}

// A workspace for the tests of one file, as it was seeded for each of them.
function withWorkspace() {
  const room = {};
  before(async () => {
    room.issuer = await Issuer.start();
    room.sim = await FakeWorkspace.start(room.issuer);
  });
  beforeEach(async () => {
    await room.sim.control("POST", "/sim/reset");
    room.w = room.sim.client();
  });
  after(async () => {
    room.issuer?.stop();
    await room.sim?.stop();
  });
  return room;
}

// A fault of this SDK: its PATCH sends no body (`request` of its api-client.js, "Add payload as request body for POST/PUT
// methods"). So PATCH goes by fetch, with the SDK's own credentials.
async function patch(w, path, body) {
  const headers = new Headers({ "content-type": "application/json" });
  await w.config.authenticate(headers);
  const host = await w.config.getHost();
  const answer = await fetch(new URL(path, host), { method: "PATCH", headers, body: JSON.stringify(body) });
  const read = await answer.json();
  if (!answer.ok) {
    throw Object.assign(new Error(read.message ?? read.detail), { errorCode: read.error_code, statusCode: answer.status });
  }
  return read;
}

async function collect(iterator) {
  const all = [];
  for await (const item of iterator) {
    all.push(item);
  }
  return all;
}

// Expects an error of the SDK with this status, code and message.
function refused(statusCode, errorCode, message) {
  return (error) => {
    assert.equal(error.statusCode, statusCode, error.stack);
    assert.equal(error.errorCode, errorCode);
    assert.match(error.message, message);
    return true;
  };
}

// So that what was started ends also when the run is stopped from outside.
process.on("SIGINT", () => process.exit(130));
process.on("SIGTERM", () => process.exit(143));

module.exports = {
  ANN,
  BOB,
  CLIENT_ID,
  CLIENT_SECRET,
  EMBEDDED_ID,
  FEDERATED_ID,
  SOURCE,
  collect,
  patch,
  refused,
  withWorkspace,
};
