// The users of MongoDB in the hardened profile (docs/security.md), for mongosh as a user
// administrator. docs/deploy.md, "Privileges", says what each action is for. Here the
// database of the keys is app, and the collection is api_keys.
const admin = db.getSiblingDB("admin");

const answers = [
  { resource: { db: "app", collection: "api_keys" }, actions: ["find", "changeStream", "listIndexes"] },
  { resource: { db: "keytail_state", collection: "keytail_heartbeats" }, actions: ["find", "insert", "update", "remove", "createIndex"] },
];
const writes = [
  { resource: { db: "app", collection: "api_keys" }, actions: ["insert", "update", "remove"] },
  { resource: { db: "keytail_state", collection: "keytail_audit" }, actions: ["find", "insert", "remove", "createIndex"] },
];

admin.createRole({ role: "keytail", roles: [], privileges: answers });
admin.createRole({ role: "keytailAdmin", roles: ["keytail"], privileges: writes });
admin.createUser({ user: "keytail", pwd: passwordPrompt(), roles: ["keytail"] });
admin.createUser({ user: "keytail_admin", pwd: passwordPrompt(), roles: ["keytailAdmin"] });
