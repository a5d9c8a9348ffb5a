// Package devmongo is a small in-memory MongoDB: one node that calls itself a
// replica set and speaks the wire protocol on a loopback socket, for `--dev` and
// for hermetic tests of everything that talks to MongoDB through a real driver.
//
// It is strict. A command, option, operator or pipeline stage that it does not
// know is refused with the code that MongoDB uses for an unknown one; nothing is
// ever ignored in the hope that it does not matter. It keeps nothing on disk,
// knows no users, and refuses to start in production. See DESIGN.md.
package devmongo
