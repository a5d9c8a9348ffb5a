// Package mongoclient is how keytail reaches MongoDB: a client made of a
// connection string, and handles of databases.
//
// A connection string can ask for what breaks keytail's promises (reads from
// secondaries, writes that one node acknowledges, timeouts that end the change
// stream). Table says what becomes of each option; docs/mongodb-uri.md is made of
// it. Database gives handles that read and write as keytail must, whatever client
// they belong to: an embedding program brings its own.
package mongoclient
