package changestream

import (
	"fmt"

	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
)

// The operation types that keytail knows. Any other one on its collection is a
// loss: what it did to the documents is not known.
const (
	kindInsert       = "insert"
	kindUpdate       = "update"
	kindReplace      = "replace"
	kindDelete       = "delete"
	kindDrop         = "drop"
	kindRename       = "rename"
	kindDropDatabase = "dropDatabase"
	kindInvalidate   = "invalidate"
)

// meaning is what one event does: a change, a loss, a heartbeat, or nothing.
type meaning struct {
	// change is set for a change of one document.
	change *keycache.Change
	// document is what an insert or replace carried.
	document *keystore.Document
	// loss is set when the history ends with this event.
	loss *lossError
	// nonce is the number of a heartbeat of our own that came back, else zero.
	nonce int64
}

// interpret says what an event means. It repeats the test of the server-side
// filter, so a server that delivers too much costs only time. own is the _id of
// this instance's heartbeats; empty: they are not in the stream.
func interpret(schema *keystore.Schema, own string, e *event) (meaning, error) {
	switch {
	case e.kind == kindDropDatabase:
		return meaning{loss: lost(reasonDropDatabase, nil)}, nil
	case e.kind == kindInvalidate:
		return meaning{loss: lost(reasonInvalidate, nil)}, nil
	case e.kind == kindRename && (e.collection == schema.Collection || e.renamedTo == schema.Collection):
		return meaning{loss: lost(reasonRename, nil)}, nil
	case e.collection == "":
		return meaning{loss: lost(reasonUnknownType, fmt.Errorf("an event of type %q for no collection", e.kind))}, nil
	case own != "" && e.collection == HeartbeatCollection:
		return meaning{nonce: nonceOf(own, e)}, nil
	case e.collection != schema.Collection:
		return meaning{}, nil
	}
	switch e.kind {
	case kindDrop:
		return meaning{loss: lost(reasonDrop, nil)}, nil
	case kindInsert, kindReplace:
		return whole(schema, e)
	case kindUpdate:
		return update(schema, e)
	case kindDelete:
		change, err := changeOf(schema, e)
		return meaning{change: change}, err
	default:
		return meaning{loss: lost(reasonUnknownType, fmt.Errorf("an event of type %q", e.kind))}, nil
	}
}

// changeOf is the part that all changes of a document share.
func changeOf(schema *keystore.Schema, e *event) (*keycache.Change, error) {
	if e.id.Type == 0 {
		return nil, fmt.Errorf("an event of type %q without a documentKey", e.kind)
	}
	return &keycache.Change{ID: schema.ID(e.id), Time: e.time}, nil
}

// whole reads an event that carries the document.
func whole(schema *keystore.Schema, e *event) (meaning, error) {
	change, err := changeOf(schema, e)
	if err != nil {
		return meaning{}, err
	}
	if e.document == nil {
		return meaning{}, fmt.Errorf("an event of type %q without a fullDocument", e.kind)
	}
	document := schema.Decode(e.document)
	// A document that no look-up can find has neither a hash nor others: it may have
	// had one before, so it is stamped by its _id, and nothing else happens.
	change.Hash, change.HasHash, change.Hashes = document.Hash, document.HasHash, document.OtherHashes
	change.Unreadable = document.MoreHashes
	if document.HasHash {
		change.Record = &document.Record
	}
	return meaning{change: change, document: &document}, nil
}

// update reads an event that shows only what it touched.
func update(schema *keystore.Schema, e *event) (meaning, error) {
	ignorable, err := e.touchesOnly(schema.Ignorable())
	if err != nil || ignorable {
		return meaning{}, err
	}
	change, err := changeOf(schema, e)
	if err != nil {
		return meaning{}, err
	}
	change.Refresh = true
	return meaning{change: change}, e.shownHashes(schema, change)
}

// nonceOf reads the nonce of a heartbeat of our own, which arrives as an insert
// the first time and later as an update or a replace, by how a server writes an
// update down. Zero: it is another instance's, or says nothing. No event of
// the heartbeats' collection takes history away; a heartbeat that is refused does.
func nonceOf(own string, e *event) int64 {
	if id, ok := e.id.StringValueOK(); !ok || id != own {
		return 0
	}
	fields := e.updated
	if e.kind == kindInsert || e.kind == kindReplace {
		fields = e.document
	}
	n, _ := fields.Lookup(fieldNonce).AsInt64OK()
	return n
}
