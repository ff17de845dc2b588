"use strict";
const assert = require("node:assert/strict");
const { test } = require("node:test");
const { ANN, BOB, CLIENT_ID, EMBEDDED_ID, FEDERATED_ID, collect, patch, withWorkspace } = require("./fake-workspace");

const room = withWorkspace();
const SCIM = "/api/2.0/preview/scim/v2";

// A fault of this SDK: the lists of usersV2, groupsV2 and servicePrincipalsV2 ask for the same page again and again and
// never end. So each page is asked for with its own startIndex, and left after as many entries as the service counted.
async function pages(service, request = {}) {
  const all = [];
  for (let total = Infinity; all.length < total; ) {
    const answer = await service._list({ ...request, startIndex: all.length + 1 });
    total = answer.totalResults;
    all.push(...(answer.Resources ?? []));
  }
  return all;
}

test("me has groups and addresses", async () => {
  const me = await room.w.currentUser.me();
  assert.deepEqual([me.userName, me.active, me.emails[0].value], [ANN, true, ANN]);
  assert.deepEqual(me.groups.map((group) => group.display).sort(), ["analysts", "users"]);
});

test("users are found by name and listed in pages", async () => {
  const [bob, ...others] = await pages(room.w.usersV2, { filter: `userName eq "${BOB.toUpperCase()}"` });
  assert.deepEqual([bob.userName, bob.displayName, others], [BOB, "Bob", []]);
  assert.equal((await room.w.usersV2.get({ id: bob.id })).userName, BOB);
  const all = await pages(room.w.usersV2, { count: 1 });
  assert.deepEqual(all.map((user) => user.userName).sort(), [ANN, BOB]);
});

test("a list of the sdk itself starts with the first page", async () => {
  for await (const user of room.w.usersV2.list({ filter: `userName eq "${BOB}"` })) {
    assert.equal(user.userName, BOB);
    // It would never end by itself: see `pages`.
    break;
  }
});

test("a user is created once, changed and deleted", async () => {
  const eve = await room.w.usersV2.create({ userName: "eve@example.com", displayName: "Eve" });
  await assert.rejects(room.w.usersV2.create({ userName: "eve@example.com" }), (error) => {
    assert.equal(error.statusCode, 409);
    assert.match(error.message, /already exists/);
    return true;
  });
  const operation = { op: "replace", path: "displayName", value: "Evelyn" };
  const schemas = ["urn:ietf:params:scim:api:messages:2.0:PatchOp"];
  await patch(room.w, `${SCIM}/Users/${eve.id}`, { schemas, Operations: [operation] });
  assert.equal((await room.w.usersV2.get({ id: eve.id })).displayName, "Evelyn");
  await room.w.usersV2.delete({ id: eve.id });
  await assert.rejects(room.w.usersV2.get({ id: eve.id }), { statusCode: 404 });
});

test("groups hold members", async () => {
  const [bob] = await pages(room.w.usersV2, { filter: `userName eq "${BOB}"` });
  const group = await room.w.groupsV2.create({ displayName: "ops", members: [{ value: bob.id }] });
  const read = await room.w.groupsV2.get({ id: group.id });
  assert.deepEqual(read.members.map((member) => member.value), [bob.id]);
  const all = await pages(room.w.groupsV2);
  assert.deepEqual(all.map((g) => g.displayName).sort(), ["admins", "analysts", "ops", "users"]);
  await room.w.groupsV2.delete({ id: group.id });
  assert.deepEqual(await pages(room.w.groupsV2, { filter: 'displayName eq "ops"' }), []);
});

test("service principals are found by application id", async () => {
  const [found] = await pages(room.w.servicePrincipalsV2, { filter: `applicationId eq "${FEDERATED_ID}"` });
  assert.deepEqual([found.applicationId, found.displayName], [FEDERATED_ID, "ci"]);
  const made = await room.w.servicePrincipalsV2.create({ displayName: "new" });
  const ids = (await pages(room.w.servicePrincipalsV2, { count: 2 })).map((principal) => principal.applicationId);
  assert.deepEqual(ids.sort(), [CLIENT_ID, FEDERATED_ID, EMBEDDED_ID, made.applicationId].sort());
  await room.w.servicePrincipalsV2.delete({ id: made.id });
  await assert.rejects(room.w.servicePrincipalsV2.get({ id: made.id }), { statusCode: 404 });
});

test("a list of nothing is empty and ends", async () => {
  assert.deepEqual(await collect(room.w.usersV2.list({ filter: 'userName eq "nobody"' })), []);
});
