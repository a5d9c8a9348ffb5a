// Package historycheck judges a recorded history (package history) by keytail's
// guarantees. It shares no code with keytail: it knows the writes, the answers and what
// docs/guarantees.md promises about them.
//
// It reads the file twice: first everything but the answers, then the answers, one at a
// time. So its memory grows with the writes and not with the answers, and the lines may
// stand in any order.
//
// A write takes effect between its sending and its acknowledgement. From that follows in
// which spans of time a key can have had a state. An answer must be a state that the key
// can have had in a window of time (or from a revision on), and each rule is such a window.
// Every doubt is in favour of the answer.
package historycheck
