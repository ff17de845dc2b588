"use strict";
const assert = require("node:assert/strict");
const { test } = require("node:test");
const { SOURCE, collect, refused, withWorkspace } = require("./fake-workspace");

const room = withWorkspace();

async function demo() {
  return room.w.apps.get({ name: "demo" });
}

function deploy(deployment = { source_code_path: SOURCE, mode: "SNAPSHOT" }) {
  return room.w.apps.deploy({ app_name: "demo", app_deployment: deployment });
}

test("deploy and wait runs the app", async () => {
  await room.sim.active(room.w);
  await room.w.workspace.mkdirs({ path: SOURCE });
  const waiter = await deploy({ source_code_path: SOURCE, command: ["node", "app.js"] });
  const done = await waiter.wait();
  assert.deepEqual(done.status, { state: "SUCCEEDED", message: "App started successfully" });
  const app = await demo();
  assert.equal(app.app_status.state, "RUNNING");
  assert.equal(app.active_deployment.deployment_id, done.deployment_id);
  assert.deepEqual(app.active_deployment.command, ["node", "app.js"]);
  const snapshot = `/Workspace/Users/${app.service_principal_client_id}/src/${done.deployment_id}`;
  assert.equal(done.deployment_artifacts.source_code_path, snapshot);
});

test("a running deployment is pending and keeps another out", async () => {
  await room.sim.active(room.w);
  await room.w.workspace.mkdirs({ path: SOURCE });
  // So long that the wall clock can't end it before the test has looked.
  await room.sim.fault({ kind: "durations", deploy: "20h" });
  const begun = await deploy();
  assert.equal((await demo()).pending_deployment.deployment_id, begun.deployment_id);
  await assert.rejects(deploy(), refused(400, "BAD_REQUEST", /there is an active deployment in progress/));
});

test("a deploy without compute is refused", async () => {
  await room.sim.stopped(room.w);
  await assert.rejects(deploy(), refused(400, "BAD_REQUEST", /not in RUNNING state/));
});

test("a missing source fails the waiter", async () => {
  await room.sim.active(room.w);
  const waiter = await deploy();
  await assert.rejects(waiter.wait(), /failed to reach SUCCEEDED state, got FAILED: .* does not exist/);
});

test("values of variables are never read back", async () => {
  await room.sim.running(room.w);
  const env_vars = [{ name: "PASSWORD", value: "s3cret" }];
  const { deployment_id } = await deploy({ source_code_path: SOURCE, env_vars });
  await room.sim.advance("2m");
  const shown = [
    (await demo()).active_deployment,
    await room.w.apps.getDeployment({ app_name: "demo", deployment_id }),
    (await collect(room.w.apps.listDeployments({ app_name: "demo" })))[0],
  ];
  for (const deployment of shown) {
    assert.deepEqual([deployment.deployment_id, deployment.env_vars], [deployment_id, [{ name: "PASSWORD" }]]);
  }
});

test("deployments are listed by pages, the newest first", async () => {
  const ids = [(await room.sim.running(room.w)).active_deployment.deployment_id];
  for (let n = 0; n < 3; n++) {
    ids.unshift((await deploy()).deployment_id);
    await room.sim.advance("2m");
  }
  const listed = await collect(room.w.apps.listDeployments({ app_name: "demo", page_size: 2 }));
  assert.deepEqual(listed.map((d) => d.deployment_id), ids);
  assert.deepEqual(await room.sim.counts("GET", "/api/2.0/apps/{name}/deployments"), { 200: 2 });
});

test("stop and start with their waiters bring the last deployment back", async () => {
  const before = await room.sim.running(room.w);
  const stopped = await (await room.w.apps.stop({ name: "demo" })).wait();
  assert.deepEqual([stopped.compute_status.state, stopped.app_status.state], ["STOPPED", "UNAVAILABLE"]);
  const started = await (await room.w.apps.start({ name: "demo" })).wait();
  assert.equal(started.compute_status.state, "ACTIVE");
  await room.sim.advance("2m");
  const app = await demo();
  assert.deepEqual([app.app_status.state, app.active_deployment.source_code_path], ["RUNNING", SOURCE]);
  assert.notEqual(app.active_deployment.deployment_id, before.active_deployment.deployment_id);
});

test("a start that fails fails the waiter", async () => {
  await room.sim.stopped(room.w);
  await room.sim.fault({ kind: "start_outcome", message: "no capacity" });
  const waiter = await room.w.apps.start({ name: "demo" });
  await assert.rejects(waiter.wait(), /failed to reach ACTIVE state, got ERROR: no capacity/);
});

test("a deleted app is deleting for a while and keeps its name", async () => {
  const before = await room.sim.running(room.w);
  // So long that the wall clock can't end it before the test has looked.
  await room.sim.fault({ kind: "durations", delete: "20h" });
  assert.equal((await room.w.apps.delete({ name: "demo" })).compute_status.state, "DELETING");
  await assert.rejects(
    room.w.apps.delete({ name: "demo" }),
    refused(400, "BAD_REQUEST", /not terminal with state DELETING/),
  );
  assert.equal((await demo()).compute_status.state, "DELETING");
  await assert.rejects(room.sim.stopped(room.w), refused(409, "ALREADY_EXISTS", /already exists/));
  await room.sim.advance("20h");
  await assert.rejects(demo(), { statusCode: 404 });
  const again = await room.sim.stopped(room.w);
  assert.notEqual(again.id, before.id);
  assert.notEqual(again.service_principal_client_id, before.service_principal_client_id);
});
