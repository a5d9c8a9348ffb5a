// Package doctor looks whether keytail fits a team's collection and replica set,
// and says what to do where it does not. It asks by trying: what a check says is
// what serve would meet, in the same sentences, since both call the same
// functions of the rooms that know.
//
// It changes nothing that is there, except that it makes keytail's own
// collection of heartbeats and its index, and writes and deletes one document of
// no fleet in it: a privilege is only known when it has been used.
package doctor
