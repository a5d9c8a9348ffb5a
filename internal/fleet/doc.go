// Package fleet says which instances follow the same keys, how far each of them
// has got, and waits until they have got somewhere: that is a receipt.
//
// Instances do not talk to each other. Each writes a heartbeat, a small document
// that says up to which cluster time it has processed the changes of the keys
// (internal/changestream), and this package reads those of all. So the fleet's
// receipt takes up to two heartbeat intervals and a little: the heartbeat that
// comes back to its instance after the change moves it, and the one after that
// says so.
//
// A receipt for a revision R promises: every answer from the memory of an
// instance of this fleet, given from now on, takes into account all that a
// majority had acknowledged up to R. What it rests on:
//
//   - The list of instances is read with read concern majority after a heartbeat
//     of our own that was sent after the caller came, so it is not older than R.
//   - An instance that is not on it yet answers nothing from memory until its
//     first heartbeat has come back to it. That one follows R in the log, so
//     everything up to R has been processed by then.
//   - An instance that has been silent for longer than its max_stale and Margin
//     answers nothing from memory either, until a later heartbeat comes back to it.
//   - An instance that leaves deletes its document after its last answer.
//
// It does not cover a document that somebody deletes by hand: the instance is
// off the list until its next heartbeat.
//
// # Silence
//
// How long an instance has been silent is measured on the asker's own monotonic
// clock. No date of the database is compared: $currentDate is the wall clock of
// whichever member was primary, and the clocks of two members may be seconds
// apart. An instance is dropped when
//
//	until - since > its max_stale + Margin
//
// since: a time at which the heartbeat that its document holds had been seen
// already (the end of the first look that showed it). So it was sent before.
//
// until: the asker's own freshness, loaded before the look. Everything that was
// acknowledged before it has a cluster time of at most the freshness' processed,
// and the look is read after that time. So a heartbeat that the instance got
// acknowledged before until would be in the document.
//
// Why that is sound. Say an instance that was dropped answers from memory after
// the look, and ignores a change up to R. The heartbeat H that makes it fresh came
// back before that change was processed, so H precedes R in the log. The list
// shows all up to R, so H is the heartbeat in the document or an earlier one, and
// was sent before since. The instance stops answering when max_stale has passed
// since it sent H, by its own clock, which Margin allows to be slow: that is
// before until, and so before the receipt.
//
// What the asker's clocks may do:
//
//   - Both times have monotonic readings, and only these are compared. A wall
//     clock that is set, forward or back, changes nothing.
//   - The monotonic clock of a machine that is suspended stands still. Then the
//     silence is understated, and the instance is dropped late.
//   - An asker that is paused between two looks, or within one, drops nobody for
//     it: until is no later than what its look was read for, and heartbeats of the
//     meantime are in the document.
//
// An asker has to have seen a document before it can see that it does not change.
// So it looks at the list every 5 s (Config.Pace; in a fleet of more than 166
// every N * 30 ms) when nobody waits, too, and reads only what tells heartbeats
// apart. An instance that was killed is dropped at the latest
//
//	max_stale + Margin + pace (with its jitter of a tenth) + the age of the freshness
//
// after its last heartbeat: some 27 s with the defaults. An asker that has just
// started has seen nothing: for its first max_stale + Margin it counts everybody
// on the list, so its receipts time out meanwhile if there is a document of a dead
// one. Documents that are gone from the list are forgotten.
//
// property_test.go verifies this with clocks of primaries 10 s off, failovers,
// and pauses of the asker at every step.
package fleet
