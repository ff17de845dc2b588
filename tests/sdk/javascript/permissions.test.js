"use strict";
const assert = require("node:assert/strict");
const { test } = require("node:test");
const { ANN, BOB, FEDERATED_ID, patch, refused, withWorkspace } = require("./fake-workspace");

const room = withWorkspace();

// Direct entries: principal and level.
function direct(acl) {
  const entries = acl.access_control_list.flatMap((entry) =>
    entry.all_permissions
      .filter((permission) => !permission.inherited)
      .map(({ permission_level }) => [
        entry.user_name ?? entry.group_name ?? entry.service_principal_name,
        permission_level,
      ]),
  );
  return Object.fromEntries(entries);
}

function set(access_control_list) {
  return room.w.apps.setPermissions({ app_name: "demo", access_control_list });
}

test("a fresh app belongs to its creator and to admins by inheritance", async () => {
  await room.sim.stopped(room.w);
  const acl = await room.w.apps.getPermissions({ app_name: "demo" });
  assert.deepEqual([acl.object_id, acl.object_type, direct(acl)], ["/apps/demo", "apps", { [ANN]: "CAN_MANAGE" }]);
  const admins = acl.access_control_list.find((entry) => entry.group_name === "admins");
  assert.deepEqual(admins.all_permissions[0].inherited_from_object, ["/apps/"]);
});

test("set replaces and update adds", async () => {
  await room.sim.stopped(room.w);
  const ann = { user_name: ANN, permission_level: "CAN_MANAGE" };
  const both = await set([ann, { group_name: "analysts", permission_level: "CAN_USE" }]);
  assert.deepEqual(direct(both), { [ANN]: "CAN_MANAGE", analysts: "CAN_USE" });
  const more = [
    { service_principal_name: FEDERATED_ID, permission_level: "CAN_USE" },
    { group_name: "analysts", permission_level: "CAN_MANAGE" },
  ];
  // Not `updatePermissions`: see `patch`.
  const added = await patch(room.w, "/api/2.0/permissions/apps/demo", { access_control_list: more });
  assert.deepEqual(direct(added), { [ANN]: "CAN_MANAGE", analysts: "CAN_MANAGE", [FEDERATED_ID]: "CAN_USE" });
  assert.deepEqual(direct(await set([ann])), { [ANN]: "CAN_MANAGE" });
});

test("the last entry of a principal wins", async () => {
  await room.sim.stopped(room.w);
  const twice = ["CAN_MANAGE", "CAN_USE"].map((permission_level) => ({ user_name: BOB, permission_level }));
  assert.deepEqual(direct(await set(twice)), { [BOB]: "CAN_USE" });
});

test("levels are named and explained", async () => {
  await room.sim.stopped(room.w);
  const { permission_levels: levels } = await room.w.apps.getPermissionLevels({ app_name: "demo" });
  assert.deepEqual(levels.map((level) => level.permission_level), ["CAN_USE", "CAN_MANAGE"]);
  assert.ok(levels.every((level) => level.description));
});

test("an unknown principal is refused by name and nothing changes", async () => {
  await room.sim.stopped(room.w);
  await assert.rejects(
    set([{ group_name: "nobody", permission_level: "CAN_USE" }]),
    refused(404, "RESOURCE_DOES_NOT_EXIST", /GroupName\(nobody\) does not exist/),
  );
  const acl = await room.w.permissions.get({ request_object_type: "apps", request_object_id: "demo" });
  assert.deepEqual(direct(acl), { [ANN]: "CAN_MANAGE" });
});
