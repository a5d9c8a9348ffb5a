package changestream

import (
	"fmt"

	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
)

// The operation types that keytail knows. Any other type on its collection is a loss: what it did
// to the documents is unknown.
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

// effect is what one event does: a change, a loss, a heartbeat, or nothing.
type effect struct {
	// change is set for a change of one document.
	change *keycache.Change
	// document is what an insert or replace carried.
	document *keystore.Document
	// loss is set when the history ends with this event.
	loss *lossError
	// nonce is that of a heartbeat of this instance, else zero.
	nonce int64
}

// interpreter tells what an event means for the keys of one collection.
type interpreter struct {
	schema *keystore.Schema
	// own is the _id of this instance's heartbeats. Empty: they are not in the stream.
	own string
	// decoded are the fields whose updates have an effect.
	decoded []string
}

func newInterpreter(schema *keystore.Schema, own string) interpreter {
	return interpreter{schema: schema, own: own, decoded: schema.DecodedFields()}
}

// interpret returns the effect of an event. It repeats the test of the server-side filter, so a
// server that delivers too much costs only time.
func (in interpreter) interpret(e *event) (effect, error) {
	schema, own := in.schema, in.own
	switch {
	case e.kind == kindDropDatabase:
		return effect{loss: lost(reasonDropDatabase, nil)}, nil
	case e.kind == kindInvalidate:
		return effect{loss: lost(reasonInvalidate, nil)}, nil
	case e.kind == kindRename && (e.collection == schema.Collection || e.renamedTo == schema.Collection):
		return effect{loss: lost(reasonRename, nil)}, nil
	case e.collection == "":
		return effect{loss: lost(reasonUnknownType, fmt.Errorf("an event of type %q for no collection", e.kind))}, nil
	case e.renamedTo == schema.Collection: // something like a rename, from another collection
		return effect{loss: lost(reasonUnknownType, fmt.Errorf("an event of type %q onto the collection", e.kind))}, nil
	case own != "" && e.collection == HeartbeatCollection:
		return effect{nonce: nonceOf(own, e)}, nil
	case e.collection != schema.Collection:
		return effect{}, nil
	}
	switch e.kind {
	case kindDrop:
		return effect{loss: lost(reasonDrop, nil)}, nil
	case kindInsert, kindReplace:
		return documentEffect(schema, e)
	case kindUpdate:
		return in.updateEffect(e)
	case kindDelete:
		change, err := newChange(schema, e)
		return effect{change: change}, err
	default:
		return effect{loss: lost(reasonUnknownType, fmt.Errorf("an event of type %q", e.kind))}, nil
	}
}

// newChange is the part that all changes of a document share.
func newChange(schema *keystore.Schema, e *event) (*keycache.Change, error) {
	if e.id.Type == 0 {
		return nil, fmt.Errorf("an event of type %q without a documentKey", e.kind)
	}
	id := schema.ID(e.id)
	if id == "" {
		// The change would be noted for no document, and its key would stay as it was.
		return nil, fmt.Errorf("an event of type %q whose documentKey cannot be read", e.kind)
	}
	return &keycache.Change{ID: id, Time: e.time}, nil
}

// documentEffect reads an event that carries the document.
func documentEffect(schema *keystore.Schema, e *event) (effect, error) {
	change, err := newChange(schema, e)
	if err != nil {
		return effect{}, err
	}
	if e.document == nil {
		return effect{}, fmt.Errorf("an event of type %q without a fullDocument", e.kind)
	}
	document := schema.Decode(e.document)
	// A document that no lookup can find has neither a hash nor others: it may have had one before,
	// so it is stamped by its _id, and nothing else happens.
	change.Hash, change.HasHash, change.Hashes = document.Hash, document.HasHash, document.OtherHashes
	change.Unreadable = document.MoreHashes
	if document.HasHash {
		change.Record = &document.Record
	}
	return effect{change: change, document: &document}, nil
}

// updateEffect reads an event that shows only what it changed.
func (in interpreter) updateEffect(e *event) (effect, error) {
	matters, err := e.mayTouch(in.decoded)
	if err != nil || !matters {
		return effect{}, err
	}
	change, err := newChange(in.schema, e)
	if err != nil {
		return effect{}, err
	}
	change.Refresh = true
	if e.showsAll() {
		change.Refusal = in.schema.RefusalIn(e.updated)
	}
	return effect{change: change}, e.addShownHashes(in.schema, change)
}

// nonceOf reads the nonce of a heartbeat of this instance. It arrives as an insert the first time
// and later as an update or a replace, depending on how the server records an update. Zero: it is
// another instance's heartbeat, or has no nonce. No event of the heartbeat collection ends the
// history; a refused heartbeat does.
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
