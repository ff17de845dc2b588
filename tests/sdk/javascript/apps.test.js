"use strict";
const assert = require("node:assert/strict");
const { test } = require("node:test");
const { ANN, collect, patch, refused, withWorkspace } = require("./fake-workspace");

const room = withWorkspace();

async function names(request = {}) {
  return (await collect(room.w.apps.list(request))).map((app) => app.name);
}

async function demo() {
  return room.w.apps.get({ name: "demo" });
}

test("create and wait ends with active compute", async () => {
  const waiter = await room.w.apps.create({ app: { name: "demo", description: "first" } });
  const app = await waiter.wait();
  assert.equal(app.compute_status.state, "ACTIVE");
  assert.deepEqual([app.creator, app.description, app.compute_size], [ANN, "first", "MEDIUM"]);
});

test("an app without compute stays stopped and the waiter of the sdk says so", async () => {
  const waiter = await room.sim.stopped(room.w);
  assert.equal(waiter.compute_status.state, "STOPPED");
  // A fault of the SDK: its waiter takes STOPPED for a failure even after no_compute.
  await assert.rejects(waiter.wait(), /failed to reach ACTIVE state, got STOPPED/);
});

test("what was created is read back", async () => {
  const resources = [
    { name: "wh", sql_warehouse: { id: "wh-1", permission: "CAN_USE" } },
    { name: "key", secret: { scope: "prod", key: "api-key", permission: "READ" } },
  ];
  await room.sim.stopped(room.w, { name: "demo", description: "sales", user_api_scopes: ["sql"], resources });
  const app = await demo();
  assert.deepEqual([app.description, app.user_api_scopes, app.resources], ["sales", ["sql"], resources]);
  const acl = await room.w.secrets.getAcl({ scope: "prod", principal: app.service_principal_client_id });
  assert.equal(acl.permission, "READ");
});

test("a taken name is 409 and a missing app 404", async () => {
  await room.sim.stopped(room.w);
  await assert.rejects(room.sim.stopped(room.w), refused(409, "ALREADY_EXISTS", /same name already exists/));
  await assert.rejects(
    room.w.apps.get({ name: "nope" }),
    refused(404, "RESOURCE_DOES_NOT_EXIST", /App with name nope does not exist or is deleted\./),
  );
});

test("a bad name and a dangling reference are refused", async () => {
  await assert.rejects(
    room.w.apps.create({ app: { name: "Not_A_Name" } }),
    refused(400, "INVALID_PARAMETER_VALUE", /Invalid app name/),
  );
  const resources = [{ name: "wh", sql_warehouse: { id: "nope", permission: "CAN_USE" } }];
  await assert.rejects(
    room.w.apps.create({ app: { name: "demo", resources } }),
    refused(404, "RESOURCE_DOES_NOT_EXIST", /nope/),
  );
  assert.deepEqual(await names(), []);
});

test("list follows the pages", async () => {
  const expected = Array.from({ length: 7 }, (_, n) => `app-${n}`);
  for (const name of expected) {
    await room.sim.stopped(room.w, { name });
  }
  assert.deepEqual(await names({ page_size: 3 }), expected);
  assert.deepEqual(await room.sim.counts("GET", "/api/2.0/apps"), { 200: 3 });
});

test("an empty page in the middle has a token that leads on", async () => {
  for (const name of ["one", "two"]) {
    await room.sim.stopped(room.w, { name });
  }
  await room.sim.fault({ kind: "empty_page", pattern: "GET /api/2.0/apps" });
  // A fault of this SDK: it takes an empty page for the last one, though it has a token.
  assert.deepEqual(await names({ page_size: 1 }), ["one"]);
  const pages = [];
  let token;
  do {
    const query = { page_size: 1, ...(token && { page_token: token }) };
    const page = await room.w.apiClient.request({ path: "/api/2.0/apps", method: "GET", headers: new Headers(), query });
    pages.push((page.apps ?? []).map((app) => app.name));
    token = page.next_page_token;
  } while (token);
  assert.deepEqual(pages, [["one"], [], ["two"]]);
});

test("a row lacks the app status that get shows", async () => {
  await room.sim.running(room.w);
  const [row] = await collect(room.w.apps.list({}));
  assert.deepEqual([row.app_status, row.compute_status.state], [undefined, "ACTIVE"]);
  assert.equal((await demo()).app_status.state, "RUNNING");
});

test("an update changes what its mask names and nothing else", async () => {
  await room.sim.stopped(room.w, { name: "demo", description: "old", user_api_scopes: ["sql"] });
  assert.equal((await room.w.apps.getUpdate({ app_name: "demo" })).status.state, "NOT_UPDATED");
  const app = { name: "demo", description: "new", user_api_scopes: ["files.files"] };
  const waiter = await room.w.apps.createUpdate({ app_name: "demo", update_mask: "description", app });
  assert.equal(waiter.status.state, "IN_PROGRESS");
  const update = await waiter.wait();
  assert.deepEqual([update.status.state, update.description], ["SUCCEEDED", "new"]);
  const after = await demo();
  assert.deepEqual([after.description, after.user_api_scopes], ["new", ["sql"]]);
});

test("a masked field without a value falls back to its default", async () => {
  await room.sim.stopped(room.w, { name: "demo", compute_size: "LARGE" });
  await room.w.apps.createUpdate({ app_name: "demo", update_mask: "compute_size", app: { name: "demo" } });
  await room.sim.advance("10s");
  assert.equal((await demo()).compute_size, "MEDIUM");
});

test("a mask outside the allow-list is refused", async () => {
  await room.sim.stopped(room.w);
  for (const mask of ["*", "name", "description, resources"]) {
    await assert.rejects(
      room.w.apps.createUpdate({ app_name: "demo", update_mask: mask, app: { name: "demo" } }),
      refused(400, "INVALID_PARAMETER_VALUE", /Invalid update mask/),
    );
  }
});

test("a failed update fails the waiter and changes nothing", async () => {
  await room.sim.stopped(room.w);
  await room.sim.fault({ kind: "update_outcome", outcome: "FAILED", message: "internal error" });
  const app = { name: "demo", description: "x" };
  const waiter = await room.w.apps.createUpdate({ app_name: "demo", update_mask: "description", app });
  await assert.rejects(waiter.wait(), /failed to reach SUCCEEDED state, got FAILED: internal error/);
  assert.equal((await demo()).description, "");
});

test("patch replaces everything that it leaves out", async () => {
  const app = { name: "demo", description: "old", user_api_scopes: ["sql"] };
  await room.sim.stopped(room.w, app);
  await patch(room.w, "/api/2.0/apps/demo", { name: "demo", description: "new" });
  const replaced = await demo();
  assert.deepEqual([replaced.description, replaced.user_api_scopes], ["new", undefined]);
  await assert.rejects(
    patch(room.w, "/api/2.0/apps/demo", { name: "demo", compute_size: "MEDIUM" }),
    refused(400, "INVALID_PARAMETER_VALUE", /Please use the new update API instead/),
  );
  // The SDK's own update sends no body (see `patch`), which replaces everything by its default.
  await room.w.apps.update({ name: "demo", app: { name: "demo", description: "kept" } });
  assert.equal((await demo()).description, "");
});

test("templates of the workspace are kept", async () => {
  const template = {
    name: "starter",
    git_repo: "https://github.com/example/starter",
    git_provider: "github",
    path: "app",
    manifest: { version: 1, name: "starter" },
  };
  await room.w.appsSettings.createCustomTemplate({ template });
  assert.equal((await room.w.appsSettings.getCustomTemplate({ name: "starter" })).path, "app");
  const all = await collect(room.w.appsSettings.listCustomTemplates({}));
  assert.deepEqual(all.map((t) => t.name), ["starter"]);
  await room.w.appsSettings.deleteCustomTemplate({ name: "starter" });
  await assert.rejects(room.w.appsSettings.getCustomTemplate({ name: "starter" }), { statusCode: 404 });
});
