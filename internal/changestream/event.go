package changestream

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
)

// event is the part of a change event that keytail reads. Its raw parts are views of the stream's
// current document, valid until the next one is read.
//
// Source: "Change Events" in MongoDB's manual.
type event struct {
	kind string
	// collection is empty for events about a whole database.
	collection string
	// renamedTo is the target collection of a rename, else empty.
	renamedTo string
	// id is documentKey._id, of type 0 for events that are not about a document.
	id bson.RawValue
	// document is fullDocument of an insert or a replace, else nil.
	document bson.Raw
	// updated is updatedFields of an update; removed are the dotted paths that it removed or
	// shortened.
	updated bson.Raw
	removed []string
	time    clustertime.Time
	// wall is the server's wall clock, zero before MongoDB 6.0.
	wall time.Time
}

// decodeEvent reads an event, or returns what is wrong with it. The error quotes nothing from the
// event's documents.
func decodeEvent(raw bson.Raw) (event, error) {
	var e event
	kind, ok := raw.Lookup("operationType").StringValueOK()
	if !ok {
		return event{}, errors.New("an event without an operationType")
	}
	e.kind = kind
	seconds, increment, ok := raw.Lookup("clusterTime").TimestampOK()
	if !ok {
		return event{}, fmt.Errorf("an event of type %q without a clusterTime", kind)
	}
	e.time = clustertime.New(seconds, increment)
	e.collection, _ = raw.Lookup("ns", "coll").StringValueOK()
	e.renamedTo, _ = raw.Lookup("to", "coll").StringValueOK()
	if millis, ok := raw.Lookup("wallTime").DateTimeOK(); ok {
		e.wall = time.UnixMilli(millis)
	}
	e.id = raw.Lookup("documentKey", "_id")
	e.document, _ = raw.Lookup("fullDocument").DocumentOK()
	return e, e.decodeUpdate(raw)
}

// decodeUpdate reads what an update changed.
func (e *event) decodeUpdate(raw bson.Raw) error {
	if e.kind != kindUpdate {
		return nil
	}
	description, ok := raw.Lookup("updateDescription").DocumentOK()
	if !ok {
		return errors.New("an update without an updateDescription")
	}
	e.updated, _ = description.Lookup("updatedFields").DocumentOK()
	if removed, ok := description.Lookup("removedFields").ArrayOK(); ok {
		values, err := removed.Values()
		if err != nil {
			return errors.New("an update whose removedFields cannot be read")
		}
		for _, value := range values {
			path, ok := value.StringValueOK()
			if !ok {
				return errors.New("an update whose removedFields are not text")
			}
			e.removed = append(e.removed, path)
		}
	}
	return e.decodeTruncated(description)
}

func (e *event) decodeTruncated(description bson.Raw) error {
	truncated, ok := description.Lookup("truncatedArrays").ArrayOK()
	if !ok {
		return nil
	}
	values, err := truncated.Values()
	if err != nil {
		return errors.New("an update whose truncatedArrays cannot be read")
	}
	for _, value := range values {
		document, ok := value.DocumentOK()
		if !ok {
			return errors.New("an update whose truncatedArrays are not documents")
		}
		path, ok := document.Lookup("field").StringValueOK()
		if !ok {
			return errors.New("an update whose truncatedArrays name no field")
		}
		e.removed = append(e.removed, path)
	}
	return nil
}

// touchesOnly reports whether an update changed at least one field, and none outside the given
// root fields.
func (e *event) touchesOnly(roots []string) (bool, error) {
	paths := slices.Clone(e.removed)
	if e.updated != nil {
		elements, err := e.updated.Elements()
		if err != nil {
			return false, errors.New("an update whose updatedFields cannot be read")
		}
		for _, element := range elements {
			paths = append(paths, element.Key())
		}
	}
	for _, path := range paths {
		if !slices.Contains(roots, root(path)) {
			return false, nil
		}
	}
	return len(paths) > 0, nil
}

// addShownHashes adds every hash that an update put into the hash field to the change. An update
// shows each value that it sets, be it the whole field or ("key_hash.3") an element of an array.
// So every hash that appears is shown. No lookup matches values deeper in an array.
func (e *event) addShownHashes(schema *keystore.Schema, change *keycache.Change) error {
	if e.updated == nil {
		return nil
	}
	elements, err := e.updated.Elements()
	if err != nil {
		return errors.New("an update whose updatedFields cannot be read")
	}
	for _, element := range elements {
		if root(element.Key()) != schema.Hash {
			continue
		}
		hashes, all := schema.HashesIn(element.Value())
		change.Hashes = append(change.Hashes, hashes...)
		if !all || len(change.Hashes) > keystore.MaxHashes {
			change.Unreadable = true
		}
	}
	return nil
}

// root is the first name of a dotted path. A field whose own name contains a dot looks the same,
// so its root is not one of the ignorable fields and the event counts.
func root(path string) string {
	name, _, _ := strings.Cut(path, ".")
	return name
}
