package devmongo

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// commandNamed finds a command in the table of all commands.
func commandNamed(name string) (*command, bool) {
	for _, find := range []func(string) *command{handshakeCommand, dataCommand, catalogCommand, sessionCommand} {
		if cmd := find(name); cmd != nil {
			return cmd, true
		}
	}
	return nil, false
}

func isHello(name string) bool { return name == "hello" || name == "isMaster" || name == "ismaster" }

func handshakeCommand(name string) *command {
	switch {
	case isHello(name):
		return &command{handshake, hello}
	case name == "ping":
		return &command{0, func(o *op) (bson.D, error) { return okReply(), o.a.finish() }}
	case name == "buildInfo":
		return &command{0, buildInfo}
	case name == "configureFailPoint":
		return &command{adminOnly, configureFailPoint}
	case name == "replSetStepDown":
		return &command{adminOnly, replSetStepDown}
	}
	return nil
}

func dataCommand(name string) *command {
	switch name {
	case "find":
		return &command{reads | inTxn, find}
	case "count":
		return &command{reads, count}
	case "aggregate":
		return &command{reads | writes | inTxn, aggregate}
	case "getMore":
		return &command{inTxn | ownMaxTime, getMore}
	case "killCursors":
		return &command{inTxn, killCursors}
	case "insert":
		return &command{writes | retryable | inTxn, insert}
	case "update":
		return &command{writes | retryable | inTxn, update}
	case "delete":
		return &command{writes | retryable | inTxn, remove}
	case "findAndModify":
		return &command{writes | retryable | inTxn, findAndModify}
	}
	return nil
}

func catalogCommand(name string) *command {
	switch name {
	case "listCollections":
		return &command{0, listCollections}
	case "listIndexes":
		return &command{0, listIndexes}
	case "create":
		return &command{writes, create}
	case "drop":
		return &command{writes, drop}
	case "dropDatabase":
		return &command{writes, dropDatabase}
	case "createIndexes":
		return &command{writes, createIndexes}
	case "dropIndexes":
		return &command{writes, dropIndexes}
	case "renameCollection":
		return &command{adminOnly | writes, renameCollection}
	}
	return nil
}

func sessionCommand(name string) *command {
	switch name {
	case "endSessions":
		return &command{0, endSessions}
	case "commitTransaction":
		return &command{adminOnly | writes | inTxn, commitTransaction}
	case "abortTransaction":
		return &command{adminOnly | writes | inTxn, abortTransaction}
	}
	return nil
}

func okReply() bson.D { return bson.D{{Key: "ok", Value: 1.0}} }

// checkNamespace rejects the names that MongoDB rejects.
func checkNamespace(db, coll string) (namespace, error) {
	ns := namespace{db: db, coll: coll}
	if db == "" || len(db) > 63 || strings.ContainsAny(db, "/\\. \"$\x00") {
		return ns, refuse(codeInvalidNamespace, "Invalid database name: '%s'", db)
	}
	if coll == "" || len(ns.String()) > 255 || strings.HasPrefix(coll, ".") || strings.HasSuffix(coll, ".") || strings.ContainsAny(coll, "$\x00") {
		return ns, refuse(codeInvalidNamespace, "Invalid namespace specified '%s'", ns)
	}
	return ns, nil
}
