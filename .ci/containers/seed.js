// Loads the sample keys as mongoimport --mode=upsert does.
const fs = require("fs");
const password = fs.readFileSync("/secrets/mongo/root-password", "utf8").trim();
const set = new Mongo(`mongodb://root:${password}@mongo1,mongo2,mongo3/?replicaSet=rs0&authSource=admin`);
const keys = EJSON.parse(fs.readFileSync("/api_keys.json", "utf8"));
const result = set.getDB("keytail").api_keys.bulkWrite(
  keys.map((key) => ({replaceOne: {filter: {_id: key._id}, replacement: key, upsert: true}})),
  {writeConcern: {w: "majority", wtimeout: 60 * 1000}},
);
print(`${result.upsertedCount + result.matchedCount} document(s) imported successfully`);
