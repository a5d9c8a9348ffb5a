// Initiates the replica set of the three nodes and creates the root user, the
// collection of the keys, and keytail's user. Run it with mongosh in the network
// namespace of mongo1: until the first user exists, MongoDB accepts unauthenticated
// connections from localhost only (the "localhost exception"). A second run updates the
// privileges and keytail's password, and changes nothing else.
const fs = require("fs");
const secret = (name) => fs.readFileSync(`/secrets/${name}`, "utf8").trim();

const AlreadyInitialized = 23, NamespaceExists = 48;
const majority = {w: "majority", wtimeout: 60 * 1000};

const rootPassword = secret("mongo/root-password");

function until(what, condition) {
  const deadline = Date.now() + 120 * 1000;
  for (;;) {
    try {
      if (condition()) return;
    } catch (error) {
      if (Date.now() > deadline) throw error; // before that, retry: an election interrupts commands
    }
    if (Date.now() > deadline) throw new Error(`timed out after 120 s: waiting until ${what}`);
    sleep(500);
  }
}

// MongoDB 4.4.0 and 4.4.1 have no hello; every version has isMaster.
const isPrimary = (database) => database.runCommand({isMaster: 1}).ismaster;

function unless(codes, action) {
  try {
    action();
  } catch (error) {
    if (![].concat(codes).includes(error.code)) throw error;
  }
}

// 1. The replica set and its first user, on mongo1.
const admin = new Mongo("mongodb://127.0.0.1:27017/?directConnection=true").getDB("admin");

function signedIn() {
  try {
    return admin.auth("root", rootPassword).ok === 1;
  } catch (error) {
    return false; // the user does not exist yet
  }
}

if (!signedIn()) {
  unless(AlreadyInitialized, () => admin.runCommand({replSetInitiate: {_id: "rs0", members: [
    // mongo1 gets a higher priority, because the first user is created here.
    {_id: 0, host: "mongo1:27017", priority: 2},
    {_id: 1, host: "mongo2:27017"},
    {_id: 2, host: "mongo3:27017"},
  ]}}));
  until("mongo1 is the primary", () => isPrimary(admin));
  admin.createUser({user: "root", pwd: rootPassword, roles: ["root"]}, majority);
}

// 2. Everything else, on the primary.
const set = new Mongo(`mongodb://root:${rootPassword}@mongo1,mongo2,mongo3/?replicaSet=rs0&authSource=admin`);
until("the set has a primary", () => isPrimary(set.getDB("admin")));
const keys = set.getDB("keytail");

unless(NamespaceExists, () => keys.createCollection("api_keys"));
keys.api_keys.createIndex({key_hash: 1}, {unique: true});

// The privileges that docs/deploy.md lists for database scope, and no others: with them
// keytail cannot write keys or indexes on the keys.
const privileges = [
  {resource: {db: "keytail", collection: ""}, actions: ["find", "changeStream"]},
  {resource: {db: "keytail", collection: "api_keys"}, actions: ["listIndexes"]},
  {resource: {db: "keytail", collection: "keytail_heartbeats"}, actions: ["find", "insert", "update", "remove", "createIndex"]},
];
if (keys.getRole("keytail")) {
  keys.updateRole("keytail", {privileges, roles: []}, majority);
} else {
  keys.createRole({role: "keytail", privileges, roles: []}, majority);
}
const password = secret("keytail/password");
if (keys.getUser("keytail")) {
  keys.updateUser("keytail", {pwd: password, roles: ["keytail"]}, majority);
} else {
  keys.createUser({user: "keytail", pwd: password, roles: ["keytail"]}, majority);
}
print("the replica set rs0 has a primary, the collection keytail.api_keys and the user keytail");
