"use strict";
const assert = require("node:assert/strict");
const { test } = require("node:test");
const jose = require("jose");
const { ANN, CLIENT_ID, CLIENT_SECRET, EMBEDDED_ID, FEDERATED_ID, withWorkspace } = require("./fake-workspace");

const room = withWorkspace();
const TOKEN_ROUTE = "/oidc/v1/token";

async function document(path) {
  return (await fetch(room.sim.url + path)).json();
}

async function whoami(client) {
  return (await client.currentUser.me()).userName;
}

// A lack of this SDK: it has no federation. So the token is exchanged at the endpoint that the SDK's own discovery found,
// and the SDK calls on with what came back.
async function exchange(token, clientId) {
  const { tokenEndpoint } = await room.sim.client().config.getOidcEndpoints();
  const form = new URLSearchParams({
    grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
    subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
    subject_token: token,
    scope: "all-apis",
    client_id: clientId,
  });
  const answer = await fetch(tokenEndpoint, { method: "POST", body: form });
  return { status: answer.status, ...(await answer.json()) };
}

test("a personal access token names its user", async () => {
  assert.equal(await whoami(room.w), ANN);
  assert.equal((await room.sim.last("GET", "/api/2.0/preview/scim/v2/Me")).user, ANN);
});

test("an unknown token is 401", async () => {
  await assert.rejects(whoami(room.sim.client({ token: "dapi-nobody" })), (error) => {
    assert.equal(error.statusCode, 401);
    assert.match(error.message, /Invalid access token/);
    return true;
  });
});

test("both discovery documents lead to the token endpoint", async () => {
  const expected = room.sim.url + TOKEN_ROUTE;
  const { tokenEndpoint } = await room.sim.client().config.getOidcEndpoints();
  assert.equal(tokenEndpoint.toString(), expected);
  const { oidc_endpoint: base, host_type: type, token_federation_default_oidc_audiences: audiences } = await document(
    "/.well-known/databricks-config",
  );
  assert.equal(type, "workspace");
  assert.deepEqual(audiences, [expected]);
  for (const name of ["oauth-authorization-server", "openid-configuration"]) {
    const answer = await fetch(`${base}/.well-known/${name}`);
    assert.equal((await answer.json()).token_endpoint, expected);
  }
});

test("a client secret becomes one token for many calls", async () => {
  const client = room.sim.client({ clientId: CLIENT_ID, clientSecret: CLIENT_SECRET });
  for (let n = 0; n < 3; n++) {
    assert.equal(await whoami(client), CLIENT_ID);
  }
  assert.equal(client.config.authType, "oauth-m2m");
  assert.deepEqual(await room.sim.counts("POST", TOKEN_ROUTE), { 200: 1 });
});

test("a wrong client secret is refused", async () => {
  const client = room.sim.client({ clientId: CLIENT_ID, clientSecret: "wrong" });
  await assert.rejects(whoami(client), /Failed to retrieve token: invalid_client/);
});

test("a token near its end is replaced by the sdk", async () => {
  // The SDK takes a token for spent 40 s before its end.
  await room.sim.fault({ kind: "token_lifetime", for: "30s" });
  const client = room.sim.client({ clientId: CLIENT_ID, clientSecret: CLIENT_SECRET });
  await whoami(client);
  await whoami(client);
  assert.deepEqual(await room.sim.counts("POST", TOKEN_ROUTE), { 200: 2 });
});

for (const [keys, principal] of [
  ["fetched", FEDERATED_ID],
  ["embedded", EMBEDDED_ID],
]) {
  test(`a signed token of a trusted issuer is exchanged, its keys ${keys}`, async () => {
    const { status, access_token: token } = await exchange(await room.issuer.sign(), principal);
    assert.equal(status, 200);
    assert.equal(await whoami(room.sim.client({ token })), principal);
  });

  test(`a token signed by somebody else is refused, its keys ${keys}`, async () => {
    const foreign = await jose.generateKeyPair("RS256");
    const answer = await exchange(await room.issuer.sign({}, foreign.privateKey), principal);
    assert.deepEqual([answer.status, answer.error], [400, "invalid_grant"]);
    assert.match(answer.error_description, /InvalidSignature/);
  });
}

for (const [claim, claims, reason] of [
  ["audience", { aud: "somebody-else" }, /InvalidAudience/],
  ["subject", { sub: "system:serviceaccount:apps:other" }, /subject/],
  ["expiry", { exp: 1_000_000_000 }, /ExpiredSignature/],
  ["issuer", { iss: "https://elsewhere.example.com" }, /no federation policy trusts issuer/],
]) {
  test(`a token that fits no policy by its ${claim} is refused`, async () => {
    const answer = await exchange(await room.issuer.sign(claims), FEDERATED_ID);
    assert.deepEqual([answer.status, answer.error], [400, "invalid_grant"]);
    assert.match(answer.error_description, reason);
  });
}
