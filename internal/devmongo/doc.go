// Package devmongo is a small in-memory MongoDB: a single-node replica set that speaks
// the wire protocol on a loopback address. It serves `--dev` and the tests of
// everything that talks to MongoDB through the real driver.
//
// It is strict: it rejects every command, option, operator and pipeline stage that it
// does not support, with the code that MongoDB uses for an unknown one. It writes
// nothing to disk, has no users, and does not start in production. See DESIGN.md.
package devmongo
