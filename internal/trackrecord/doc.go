// Command trackrecord runs the commands of docs/track-record.md, each of which shows a
// defect that was found once, and checks that each of them still shows it.
//
//	go run ./internal/trackrecord             every command of the page, in few runs of go test
//	go run ./internal/trackrecord undo NAME   take one repair back, and run its test
//	go run ./internal/trackrecord list        the names for undo
//
// There are three kinds of commands on the page:
//
//   - go test -tags unguarded: a rule of the core is switched off (package guard), and a
//     staged test passes only if the anomaly shows.
//   - undo: the lines of one repair are replaced by what was there before, in a copy that
//     only the compiler sees (go test -overlay). The test that came with the repair must
//     fail, and print what was wrong.
//   - go test alone: it shows what another program does, such as a server.
//
// Add an undo to the table of its tier (undos_*.go) and an entry to the page: the tests of
// this package compare both. An undo that does not compile, or whose test passes, is an
// error of the run.
package main
