// Package playground is the page of --dev on which a person makes keys, revokes them and
// breaks the connection to MongoDB, and sees on a timeline what keytail and a cache with a
// TTL answer meanwhile.
//
// Nothing on the page is simulated. The answers in keytail's lane are those of the
// validator that serves the listeners. The TTL cache beside it reads the same collection,
// with a client of its own that has the same application name, so that a fault of the
// in-memory MongoDB hits both alike. What MongoDB holds is read, and written, by a third
// client, that of the people who revoke keys: a cut network does not concern it.
//
//   - playground.go: the parts, and the loop that samples;
//   - command.go, write.go: what the buttons do, and what that writes to MongoDB;
//   - sample.go, lane.go, change.go: what was answered, since when, and how long it took
//     until a change was noticed;
//   - ttlcache.go, database.go: the other cache; the clients;
//   - view.go, words.go, draw.go, page.go: what the page shows.
//
// The texts of the keys are in memory only, and on no page. Everything is bounded: keys,
// the time that is kept, segments, and the writes in progress.
package playground
