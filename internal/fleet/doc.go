// Package fleet lists the instances that use the same keys, knows up to which
// revision each of them has applied all changes, and waits until this instance
// or all instances have reached a revision. The result of such a wait is a
// write acknowledgement.
//
// # How it works
//
// Instances do not talk to each other. Each writes a heartbeat, a small
// document with the cluster time up to which the instance has processed the
// changes of the keys (internal/changestream), and this package reads the
// documents of all instances. A write acknowledgement of the fleet therefore
// takes up to two heartbeat intervals and a little: an instance learns that it
// has processed a change when the next heartbeat after the change is received by
// it, and reports this in the heartbeat after that.
//
// fleet.go has the Fleet and its configuration; list.go reads the heartbeats;
// observations.go remembers when each was first seen; poll.go reads the list as
// long as a caller waits; wait.go waits for a revision.
//
// # What a write acknowledgement guarantees
//
// A write acknowledgement for a revision R guarantees: every answer that an
// instance of this fleet gives from its cache, from now on, takes into account
// everything that a majority had acknowledged up to R. The guarantee depends on
// four rules:
//
//   - The list of instances is read with read concern majority after a
//     heartbeat of this instance that was sent after the caller arrived, so the
//     list is not older than R.
//   - An instance that is not on the list yet answers nothing from its cache
//     until its first heartbeat has been received by it. That heartbeat follows R
//     in the oplog, so the instance has processed everything up to R by then.
//   - An instance that has been silent for longer than its max_stale and Margin
//     answers nothing from its cache either, until a later heartbeat is received
//     to it.
//   - An instance that stops deletes its document after its last answer.
//
// The guarantee does not hold if someone deletes the document of an instance
// by hand: that instance is not on the list until its next heartbeat.
//
// # Silence
//
// An instance measures how long another one has been silent on its own
// monotonic clock. It does not compare dates of the database: $currentDate is
// the wall clock of whichever member was primary, and the clocks of two members
// may be seconds apart. The observer, which is the instance that reads the
// list, drops an instance when
//
//	until - since > its max_stale + Margin
//
// since: a time at which the observer had already seen the heartbeat that the
// document has (the end of the first read that showed it). So the heartbeat was
// sent before.
//
// until: the observer's own freshness, loaded before the read of the list.
// Everything that was acknowledged before it has a cluster time of at most the
// freshness' processed, and the list is read after that time. So a heartbeat of
// the instance that was acknowledged before until would be in the document.
//
// This is correct for the following reason. Assume that an instance that was
// dropped answers from its cache after the read, and ignores a change up to R.
// The heartbeat H that makes it fresh was received before that change was
// processed, so H precedes R in the oplog. The list shows everything up to R,
// so H is the heartbeat in the document or an earlier one, and was sent before
// since. The instance stops answering from its cache when max_stale has passed
// since it sent H, by its own clock, which may be slow by Margin: that is
// before until, and so before the write acknowledgement.
//
// What may happen to the observer's clocks:
//
//   - Both times have monotonic readings, and only these are compared. Setting
//     the wall clock, forward or back, changes nothing.
//   - The monotonic clock of a machine that is suspended stops. The
//     observer then underestimates the silence, and drops the instance late.
//   - An observer that is paused between two reads, or within one, drops no
//     instance because of the pause: until is not later than the time for which
//     the list was read, and the document contains heartbeats that were written
//     during the pause.
//
// An observer must have seen a document before it can see that it does not
// change. So it reads the list every 5 s (Config.PollInterval; in a fleet of
// more than 166 instances every N * 30 ms) even when no caller waits, and then
// reads only the fields that identify a heartbeat. An instance that was killed
// is dropped at the latest
//
//	max_stale + Margin + poll interval (with its jitter of a tenth) + the age of the freshness
//
// after its last heartbeat: about 27 s with the defaults. An observer that has
// just started has seen nothing: for its first max_stale + Margin it counts
// every instance on the list, so its write acknowledgements time out during
// that time if the list has the document of a dead instance. Documents that are
// no longer on the list are forgotten.
//
// property_test.go verifies this with clocks of primaries that are 10 s off,
// with failovers, and with pauses of the observer at every step.
package fleet
