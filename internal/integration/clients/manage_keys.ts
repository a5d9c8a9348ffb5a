// The life of a key, by openapi-fetch with the types that openapi-typescript has
// generated in keytail.d.ts. It prints one line for each step.
//
//   KEYTAIL_URL=... KEYTAIL_CALLER_TOKEN=... KEYTAIL_ADMIN_URL=... KEYTAIL_ADMIN_TOKEN=... node manage_keys.js

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./keytail.js";

type Problem = components["schemas"]["Problem"];

const user = "user of the TypeScript client";

/** The value of an environment variable that must be set. */
function variable(name: string): string {
  const value = process.env[name];
  assert(value, `${name} is not set`);
  return value;
}

/** A client of the listener at url. */
function client(url: string, token: string) {
  return createClient<paths>({ baseUrl: variable(url), headers: { Authorization: `Bearer ${variable(token)}` } });
}

const keys = client("KEYTAIL_URL", "KEYTAIL_CALLER_TOKEN");
const admin = client("KEYTAIL_ADMIN_URL", "KEYTAIL_ADMIN_TOKEN");

/** The body of a response that is no error. */
function body<T>(answer: { data?: T; error?: Problem }): T {
  if (answer.data === undefined) throw new Error(answer.error?.detail ?? "a response without a body");
  return answer.data;
}

async function code(key: string): Promise<string> {
  const verdict = body(await keys.POST("/v1/keys/verify", { body: { key, scopes: ["orders:read"] } }));
  assert.equal(verdict.valid, verdict.code === "VALID");
  return verdict.code;
}

/** The ids of the user's keys, one from each page. */
async function ids(): Promise<string[]> {
  const found: string[] = [];
  for (let next: { cursor?: string } | null = {}; next; ) {
    const query = { user_id: user, include_inactive: true, limit: 1, ...next };
    const page: components["schemas"]["KeyList"] = body(await admin.GET("/v1/keys", { params: { query } }));
    found.push(...page.keys.map((key) => key.id));
    next = page.next_cursor === null ? null : { cursor: page.next_cursor };
  }
  return found;
}

const status = body(await admin.GET("/v1/status"));
assert(status.state === "live" && status.instance);

const first = body(
  await admin.POST("/v1/keys", {
    body: { user_id: user, name: "ci", scopes: ["orders:*"], expires_at: null, metadata: { plan: { seats: 7 } } },
  }),
);
const second = body(
  await admin.POST("/v1/keys", { body: { user_id: user }, params: { query: { wait: "instance" } } }),
);
assert.deepEqual(first.metadata, { plan: { seats: 7 } });
assert(first.expires_at === null && first.created_at !== null);
console.log(`created: ${await code(first.key)}`);

assert.deepEqual(await ids(), [second.id, first.id]);
console.log("listed: 2 pages");

const path = { id: first.id };
const cleared = body(await admin.PATCH("/v1/keys/{id}", { params: { path }, body: { name: null } }));
assert(cleared.name === "" && cleared.scopes[0] === "orders:*");
console.log("changed: null removes the name, an absent field stays");

const rotated = body(await admin.POST("/v1/keys/{id}/rotate", { params: { path }, body: { overlap_seconds: 3600 } }));
assert(rotated.rotated_from === first.id && Date.parse(rotated.previous_expires_at ?? "") > Date.parse(first.created_at));
console.log(`rotated: old ${await code(first.key)}, new ${await code(rotated.key)}`);

const revoked = body(
  await admin.POST("/v1/keys/{id}/revoke", {
    params: { path: { id: rotated.id }, query: { wait: "fleet", timeout: "20s" } },
  }),
);
assert(revoked.synced === true && revoked.missing?.length === 0);
console.log(`revoked: applied by ${revoked.instances?.length} instance`);
console.log(`verified again: ${await code(rotated.key)}`);

const { error } = await admin.GET("/v1/keys/{id}", { params: { path: { id: "no-such-key" } } });
console.log(`refused: ${error?.status} ${error?.code}`);

const explanation = body(
  await admin.GET("/v1/keys/{id}/explain", {
    params: { path: { id: second.id }, query: { scope: ["orders:read", "orders:write"] } },
  }),
);
assert(!explanation.valid && !explanation.database.valid && explanation.instance === status.instance);
console.log(`explained: ${explanation.code} ${explanation.reason}`);

const leaked = body(
  await admin.POST("/v1/keys/revoke-leaked", {
    body: { key: second.key },
    params: { query: { wait: "fleet", timeout: "20s" } },
  }),
);
assert(leaked.revoked === 1 && leaked.synced === true && leaked.keys[0]?.id === second.id);
console.log(`leaked: ${await code(second.key)}`);

const would = body(await admin.POST("/v1/keys/revoke", { body: { user_id: user, dry_run: true } }));
assert(would.dry_run && would.failed.length === 0 && would.revision === null);
assert.deepEqual(would.key_ids, [first.id]);
const left = body(
  await admin.POST("/v1/keys/revoke", { body: { user_id: user }, params: { query: { wait: "instance" } } }),
);
assert(left.next_cursor === null && left.synced === true);
assert.deepEqual(left.key_ids, would.key_ids);
console.log(`revoked all: ${left.key_ids.length} key, ${await code(first.key)}`);

const audit = body(await admin.GET("/v1/audit", { params: { query: { key_id: rotated.id, action: "revoke" } } }));
const [entry] = audit.entries;
assert(entry && entry.before !== null);
const after = body(await admin.GET("/v1/keys/{id}", { params: { path: { id: entry.key_id } } }));
assert.equal(after.is_active, false);
const lines = body(await admin.GET("/v1/audit", { params: { query: { user_id: user, action: "revoke", limit: 2 } } }));
assert.deepEqual(lines.entries.map((line) => line.cause), ["owner", "leaked"]);
console.log(`audited: ${entry.action}`);
