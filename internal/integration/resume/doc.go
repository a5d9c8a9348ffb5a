// Package resume has two searches over one recorded run of writes, with the real service and the
// real driver.
//
// Resume from every time (TestResumeFromEveryTime): a run of writes of all kinds is recorded with
// the cluster time and the resume token of each event. Then a service is started for each of them.
// Its change stream is made to begin there, and its reads see the oldest documents that they are
// allowed to see. When it has reached the end of the run, each answer must be the database's.
//
// Every error at every point (TestEveryErrorAtEveryPoint): the service follows a run while it
// happens, and one of its commands fails, once and in one way. No answer may be wrong, the cache
// must be complete and fresh again soon, and the failure must have left a trace.
//
// Both work on the wire: a dialer between the driver and the server sees each command, can change
// it, hold it, or decide its reply (wire_test.go). So they need nothing of the server, except for
// reads of the past: those need devmongo, or a MongoDB that offers snapshot reads.
//
// The gate runs a sample. The whole search, and one case of it:
//
//	go test -timeout 60m -run 'EveryTime|EveryPoint' ./internal/integration/resume -resume.full
//	go test -run EveryPoint -v ./internal/integration/resume -resume.only 'scan 1: cut before'
//
// docs/testing.md has the figures, and a table of the guards whose removal each search finds.
package resume
