"use strict";
const assert = require("node:assert/strict");
const { test } = require("node:test");
const { ApiError } = require("@databricks/sdk-experimental");
const { refused, withWorkspace } = require("./fake-workspace");

const room = withWorkspace();
const GET_APP = "GET /api/2.0/apps/demo";
const APP_ROUTE = "/api/2.0/apps/{name}";

function demo() {
  return room.w.apps.get({ name: "demo" });
}

for (const [status, code] of [
  [400, "BAD_REQUEST"],
  [400, "INVALID_STATE"],
  [401, "UNAUTHENTICATED"],
  [403, "PERMISSION_DENIED"],
  [404, "NOT_FOUND"],
  [409, "ABORTED"],
  [500, "INTERNAL_ERROR"],
  [501, "NOT_IMPLEMENTED"],
  [504, "DEADLINE_EXCEEDED"],
]) {
  test(`${status} ${code} is an error of the sdk, and none the next time`, async () => {
    await room.sim.stopped(room.w);
    await room.sim.fault({ pattern: GET_APP, status_code: status, body: { error_code: code, message: "no" } });
    await assert.rejects(demo(), (error) => error instanceof ApiError && refused(status, code, /^no$/)(error));
    assert.equal((await demo()).name, "demo");
    assert.deepEqual(await room.sim.counts("GET", APP_ROUTE), { [status]: 1, 200: 1 });
  });
}

for (const [shape, code, message] of [
  // A fault of this SDK: it expects `metadata` in every detail, and shows the body whole where one has none.
  ["details", "Not Found", /App with name nope does not exist/],
  ["int_code", 404, /App with name nope does not exist/],
  // A fault of this SDK: only JSON with `message` and `error_code` is read as JSON.
  ["scim", "Not Found", /App with name nope does not exist/],
  ["legacy", "Not Found", /App with name nope does not exist/],
  ["html", "Not Found", /^RESOURCE_DOES_NOT_EXIST: App with name nope does not exist or is deleted$/],
  ["text", "Not Found", /RESOURCE_DOES_NOT_EXIST: App with name nope does not exist/],
  ["empty", "Not Found", /Response from server/],
]) {
  test(`a refusal keeps its status and text as ${shape}`, async () => {
    await room.sim.fault({ kind: "error_shape", pattern: "GET /api/2.0/apps/*", shape });
    await assert.rejects(room.w.apps.get({ name: "nope" }), refused(404, code, message));
  });
}

test("throttling is waited out by the sdk", async () => {
  await room.sim.stopped(room.w);
  await room.sim.fault({ pattern: GET_APP, status_code: 429, headers: { "Retry-After": "1" } });
  const began = performance.now();
  assert.equal((await demo()).name, "demo");
  assert.ok(performance.now() - began >= 1000);
  assert.deepEqual(await room.sim.counts("GET", APP_ROUTE), { 429: 1, 200: 1 });
});

test("an outage is an error: this sdk repeats nothing after 503", async () => {
  await room.sim.stopped(room.w);
  await room.sim.fault({ pattern: GET_APP, status_code: 503 });
  await assert.rejects(demo(), refused(503, "TEMPORARILY_UNAVAILABLE", /Injected fault/));
  assert.deepEqual(await room.sim.counts("GET", APP_ROUTE), { 503: 1 });
});

test("a reset connection is an error with its code", async () => {
  await room.sim.stopped(room.w);
  await room.sim.fault({ kind: "reset", pattern: GET_APP });
  await assert.rejects(demo(), { code: "ECONNRESET" });
  assert.equal((await demo()).name, "demo");
});

test("a create whose answer is lost has happened", async () => {
  await room.sim.fault({ kind: "reset", pattern: "POST /api/2.0/apps", when: "after_commit" });
  await assert.rejects(room.sim.stopped(room.w), { code: "ECONNRESET" });
  assert.equal((await demo()).name, "demo");
});

test("a slow answer is waited for", async () => {
  await room.sim.stopped(room.w);
  await room.sim.fault({ kind: "latency", pattern: GET_APP, delay: "1s" });
  const began = performance.now();
  assert.equal((await demo()).name, "demo");
  assert.ok(performance.now() - began >= 1000);
});

test("unknown fields everywhere disturb nobody", async () => {
  await room.sim.running(room.w);
  await room.sim.fault({ kind: "extra_fields" });
  assert.equal((await demo()).active_deployment.status.state, "SUCCEEDED");
  assert.ok((await room.w.currentUser.me()).userName);
});
