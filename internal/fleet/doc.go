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
//   - An instance whose last heartbeat is older than our own newest one by more
//     than its max_stale and Margin answers nothing from memory either, until a
//     later heartbeat comes back to it. Both times are the server's.
//   - An instance that leaves deletes its document after its last answer.
//
// It does not cover a document that somebody deletes by hand: the instance is
// off the list until its next heartbeat.
package fleet
