// Package conformance checks that a server behaves as MongoDB's manual describes, in
// everything that keytail and its tests rely on. Its tests run on devmongo, on
// SecantusDB if it is installed, and on your own replica set, MongoDB 4.4 or later:
//
//	KEYTAIL_TEST_MONGODB_URI='mongodb://db1,db2,db3/?replicaSet=rs' go test ./internal/devmongo/conformance
//
// The user needs the right to create and drop databases whose names begin with kt_.
// Tests with failpoints need a server that was started with
// --setParameter enableTestCommands=1, and are skipped otherwise.
//
// A test here holds for every version of MongoDB from 4.4 on. What only devmongo can
// do (Snapshot, HoldMajority, …) is tested in package devmongo.
//
// Known differences of a server are listed in differences_test.go. A listed case is
// skipped and its reason is printed; -conformance.differences runs it anyway.
package conformance
