// Package history is the format of a recorded run: what clients wrote, what a validator
// of keys answered, and what happened meanwhile, as lines of JSON. docs/history-format.md
// describes it for people who write it from other programs; package historycheck judges
// it.
//
// The package depends on the standard library alone, so that what reads and judges a
// history shares no code with what made it.
package history
