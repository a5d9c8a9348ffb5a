// Package mongoclient connects to MongoDB: it makes a client from a connection
// string, and handles of databases.
//
// A connection string can contain options that break keytail's guarantees
// (reads from secondaries, writes that one node acknowledges, timeouts that end
// the change stream). OptionTable lists what keytail does with each option; the
// table in docs/mongodb-uri.md is generated from it. Database returns handles
// that read and write as keytail must, for every client: an embedding program
// brings its own client.
//
// options.go has the table; uri.go checks a connection string against it;
// settings.go makes the settings of the client; replicaset.go checks the name
// of the replica set and direct connections; hello.go sends hello; database.go
// returns handles.
package mongoclient
