"use strict";
const assert = require("node:assert/strict");
const { test } = require("node:test");
const { ANN, BOB, collect, patch, refused, withWorkspace } = require("./fake-workspace");

const room = withWorkspace();
const FOLDER = "/Workspace/Users/ann@example.com/tool";
const encoded = (text) => Buffer.from(text).toString("base64");
const decoded = (text) => Buffer.from(text, "base64").toString();

test("files are imported, listed, described, exported and deleted", async () => {
  await room.w.workspace.mkdirs({ path: `${FOLDER}/lib` });
  const file = { path: `${FOLDER}/app.py`, format: "RAW", content: encoded("print(1)\n") };
  await room.w.workspace.import(file);
  await assert.rejects(room.w.workspace.import(file), refused(409, "RESOURCE_ALREADY_EXISTS", /already exists/));
  await room.w.workspace.import({ ...file, overwrite: true });
  const listed = await collect(room.w.workspace.list({ path: FOLDER }));
  assert.deepEqual(
    listed.map((item) => [item.path, item.object_type]),
    [
      [`${FOLDER}/app.py`, "FILE"],
      [`${FOLDER}/lib`, "DIRECTORY"],
    ],
  );
  const status = await room.w.workspace.getStatus({ path: `${FOLDER}/app.py` });
  assert.deepEqual([status.object_type, status.size], ["FILE", 9]);
  const exported = await room.w.workspace.export({ path: `${FOLDER}/app.py`, format: "AUTO" });
  assert.equal(decoded(exported.content), "print(1)\n");
  await assert.rejects(room.w.workspace.delete({ path: FOLDER }), /not empty/);
  await room.w.workspace.delete({ path: FOLDER, recursive: true });
  await assert.rejects(
    room.w.workspace.getStatus({ path: FOLDER }),
    refused(404, "RESOURCE_DOES_NOT_EXIST", /doesn't exist/),
  );
});

test("warehouses are created, edited, turned off and on, and deleted", async () => {
  const made = await room.w.warehouses.create({ name: "small", cluster_size: "2X-Small", auto_stop_mins: 10 });
  assert.equal((await made.wait()).state, "RUNNING");
  const { id } = made;
  const edited = await (await room.w.warehouses.edit({ id, name: "small", cluster_size: "Small" })).wait();
  assert.equal(edited.cluster_size, "Small");
  assert.equal((await (await room.w.warehouses.stop({ id })).wait()).state, "STOPPED");
  assert.equal((await (await room.w.warehouses.start({ id })).wait()).state, "RUNNING");
  const all = await collect(room.w.warehouses.list({}));
  assert.deepEqual(all.map((warehouse) => warehouse.id).sort(), ["wh-1", id].sort());
  const acl = await room.w.warehouses.getPermissions({ warehouse_id: id });
  assert.equal(acl.access_control_list[0].all_permissions[0].permission_level, "IS_OWNER");
  await room.w.warehouses.delete({ id });
  await assert.rejects(room.w.warehouses.get({ id }), { statusCode: 404 });
});

test("jobs are created, replaced, changed, run and deleted", async () => {
  const { job_id } = await room.w.jobs.create({ name: "nightly", tags: { team: "a" } });
  const job = await room.w.jobs.get({ job_id });
  assert.deepEqual([job.settings.name, job.creator_user_name], ["nightly", ANN]);
  await room.w.jobs.update({ job_id, new_settings: { description: "x" }, fields_to_remove: ["tags"] });
  const changed = (await room.w.jobs.get({ job_id })).settings;
  assert.deepEqual([changed.name, changed.description, changed.tags], ["nightly", "x", undefined]);
  await room.w.jobs.reset({ job_id, new_settings: { name: "weekly" } });
  assert.equal((await room.w.jobs.get({ job_id })).settings.description, undefined);
  const run = await (await room.w.jobs.runNow({ job_id })).wait();
  assert.deepEqual([run.job_id, run.state.result_state], [job_id, "SUCCESS"]);
  await room.w.jobs.delete({ job_id });
  await assert.rejects(room.w.jobs.get({ job_id }), refused(400, "INVALID_PARAMETER_VALUE", /does not exist/));
});

test("jobs are listed in pages", async () => {
  const ids = [];
  for (let n = 0; n < 5; n++) {
    ids.push((await room.w.jobs.create({ name: `job-${n}` })).job_id);
  }
  const listed = await collect(room.w.jobs.list({ limit: 2 }));
  assert.deepEqual(listed.map((job) => job.job_id).sort(), ids.sort());
  assert.deepEqual(await room.sim.counts("GET", "/api/2.2/jobs/list"), { 200: 3 });
});

test("secret scopes hold secrets and access lists", async () => {
  const { secrets } = room.w;
  await secrets.createScope({ scope: "team" });
  await assert.rejects(
    secrets.createScope({ scope: "team" }),
    refused(400, "RESOURCE_ALREADY_EXISTS", /Scope team already exists/),
  );
  await secrets.putSecret({ scope: "team", key: "text", string_value: "one" });
  assert.deepEqual((await collect(secrets.listScopes())).map((scope) => scope.name), ["prod", "team"]);
  const [listed] = await collect(secrets.listSecrets({ scope: "team" }));
  assert.equal(listed.key, "text");
  assert.ok(listed.last_updated_timestamp > 0);
  assert.equal(decoded((await secrets.getSecret({ scope: "team", key: "text" })).value), "one");
  await secrets.putAcl({ scope: "team", principal: BOB, permission: "WRITE" });
  const acls = await collect(secrets.listAcls({ scope: "team" }));
  assert.deepEqual(Object.fromEntries(acls.map((item) => [item.principal, item.permission])), {
    [ANN]: "MANAGE",
    [BOB]: "WRITE",
  });
  await secrets.deleteAcl({ scope: "team", principal: BOB });
  await assert.rejects(secrets.getAcl({ scope: "team", principal: BOB }), { statusCode: 404 });
  await secrets.deleteSecret({ scope: "team", key: "text" });
  await secrets.deleteScope({ scope: "team" });
  await assert.rejects(
    collect(secrets.listSecrets({ scope: "team" })),
    refused(404, "RESOURCE_DOES_NOT_EXIST", /Scope team does not exist/),
  );
});

// This SDK has no app spaces: its transport calls them.
function spaces(method, path = "", payload = undefined) {
  const headers = new Headers({ "content-type": "application/json" });
  return room.w.apiClient.request({ path: `/api/2.0/app-spaces${path}`, method, headers, payload });
}

test("app spaces are created, changed, listed and deleted by operations", async () => {
  const operation = await spaces("POST", "", { name: "team", description: "old", user_api_scopes: ["sql"] });
  const done = await spaces("GET", `/${operation.name}/operation`);
  assert.deepEqual([done.done, done.response.status.state], [true, "SPACE_ACTIVE"]);
  await patch(room.w, "/api/2.0/app-spaces/team?update_mask=description", { name: "team", description: "new" });
  const space = await spaces("GET", "/team");
  assert.deepEqual([space.description, space.user_api_scopes], ["new", ["sql"]]);
  assert.deepEqual((await spaces("GET")).spaces.map((s) => s.name), ["team"]);
  const app = await room.sim.stopped(room.w, { name: "demo", space: "team" });
  assert.equal(app.service_principal_client_id, space.service_principal_client_id);
  await assert.rejects(spaces("DELETE", "/team"), /still has apps, such as demo/);
  await room.w.apps.delete({ name: "demo" });
  await room.sim.advance("3m");
  await spaces("DELETE", "/team");
  await assert.rejects(spaces("GET", "/team"), { statusCode: 404 });
});
