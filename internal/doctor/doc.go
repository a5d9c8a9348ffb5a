// Package doctor checks whether keytail can run with a team's collection and replica
// set, and reports what to do if it cannot. A check does what serve does, with the same
// functions, so it reports the same errors.
//
// It does not change existing data. It creates keytail's own collection of heartbeats
// and its index, and inserts and deletes one document there that belongs to no fleet:
// only using a privilege shows that it exists.
package doctor
