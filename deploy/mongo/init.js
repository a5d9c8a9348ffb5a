// Makes the three nodes a set with a root user, the collection of the keys, and
// keytail's own user. For mongosh, in the network of mongo1: until there is a
// first user, MongoDB believes who comes from localhost (the "localhost
// exception"), and nobody else. A second run changes nothing but the privileges.
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
      if (Date.now() > deadline) throw error; // an election interrupts commands
    }
    if (Date.now() > deadline) throw new Error(`not within 120 s: ${what}`);
    sleep(500);
  }
}

// hello is missing in 4.4.0 and 4.4.1; isMaster is in every version.
const isPrimary = (database) => database.runCommand({isMaster: 1}).ismaster;

function unless(codes, action) {
  try {
    action();
  } catch (error) {
    if (![].concat(codes).includes(error.code)) throw error;
  }
}

// 1. The set and its first user, on mongo1 itself.
const admin = new Mongo("mongodb://127.0.0.1:27017/?directConnection=true").getDB("admin");

function signedIn() {
  try {
    return admin.auth("root", rootPassword).ok === 1;
  } catch (error) {
    return false; // there is no such user yet
  }
}

if (!signedIn()) {
  unless(AlreadyInitialized, () => admin.runCommand({replSetInitiate: {_id: "rs0", members: [
    // With a priority, so that the first user can be made here.
    {_id: 0, host: "mongo1:27017", priority: 2},
    {_id: 1, host: "mongo2:27017"},
    {_id: 2, host: "mongo3:27017"},
  ]}}));
  until("mongo1 is the primary", () => isPrimary(admin));
  admin.createUser({user: "root", pwd: rootPassword, roles: ["root"]}, majority);
}

// 2. The rest, on whatever node is the primary.
const set = new Mongo(`mongodb://root:${rootPassword}@mongo1,mongo2,mongo3/?replicaSet=rs0&authSource=admin`);
until("the set has a primary", () => isPrimary(set.getDB("admin")));
const keys = set.getDB("keytail");

unless(NamespaceExists, () => keys.createCollection("api_keys"));
keys.api_keys.createIndex({key_hash: 1}, {unique: true});

// The privileges of README.md, and no more: neither a key nor an index on the keys
// can be written with them.
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
