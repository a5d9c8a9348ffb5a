package changestream

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/guard"
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
	// vague: an update has a description with a part whose name is not in descriptionParts. What else it
	// changed is unknown.
	vague bool
	time  clustertime.Time
	// wall is the server's wall clock, zero before MongoDB 6.0.
	wall time.Time
}

// The parts of an updateDescription that show what changed.
const (
	partUpdated   = "updatedFields"
	partRemoved   = "removedFields"
	partTruncated = "truncatedArrays"
)

// descriptionParts are those, and one that only explains paths of theirs. It comes with
// showExpandedEvents, which keytail does not request.
var descriptionParts = []string{partUpdated, partRemoved, partTruncated, "disambiguatedPaths"}

// decodeEvent reads an event, or returns what is wrong with it. The error quotes nothing from the
// event's documents.
func decodeEvent(raw bson.Raw) (event, error) {
	// The driver has validated the batch, and not the events in it. Its Lookup panics at an embedded
	// document that claims to be shorter than its own length.
	if raw.Validate() != nil {
		return event{}, errors.New("an event that is not valid BSON")
	}
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
	if e.renamedTo, ok = targetOf(raw); !ok {
		return event{}, fmt.Errorf("an event of type %q onto a collection whose name cannot be read", kind)
	}
	if millis, ok := raw.Lookup("wallTime").DateTimeOK(); ok {
		e.wall = time.UnixMilli(millis)
	}
	e.id = raw.Lookup("documentKey", "_id")
	e.document, _ = raw.Lookup("fullDocument").DocumentOK()
	return e, e.decodeUpdate(raw)
}

// targetOf returns the target collection, empty if the event has none. False: it has one that cannot be
// read.
func targetOf(raw bson.Raw) (name string, ok bool) {
	if to := raw.Lookup("to"); to.Type != 0 {
		if _, ok := to.DocumentOK(); !ok {
			return "", false
		}
	}
	v := raw.Lookup("to", "coll")
	name, ok = v.StringValueOK()
	return name, ok || v.Type == 0
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
	parts, err := description.Elements()
	if err != nil {
		return errors.New("an update whose updateDescription cannot be read")
	}
	for _, part := range parts {
		if err := e.decodePart(part.Key(), part.Value()); err != nil {
			return err
		}
	}
	return nil
}

// decodePart reads one part of an update's description. A part that cannot be read is an error: what it
// shows would otherwise count as not changed. Null is like an absent part, as in the filter.
func (e *event) decodePart(name string, v bson.RawValue) error {
	switch name {
	case partUpdated:
		updated, ok := v.DocumentOK()
		if v.Type == bson.TypeNull && e.updated == nil {
			return nil
		}
		if !ok || updated.Validate() != nil || e.updated != nil {
			return errors.New("an update whose updatedFields cannot be read")
		}
		e.updated = updated
	case partRemoved:
		return e.decodeRemoved(v)
	case partTruncated:
		return e.decodeTruncated(v)
	default:
		e.vague = e.vague || !slices.Contains(descriptionParts, name)
	}
	return nil
}

func (e *event) decodeRemoved(v bson.RawValue) error {
	values, ok := listOf(v)
	if !ok {
		return errors.New("an update whose removedFields cannot be read")
	}
	for _, value := range values {
		path, ok := value.StringValueOK()
		if !ok {
			return errors.New("an update whose removedFields are not text")
		}
		e.removed = append(e.removed, path)
	}
	return nil
}

func (e *event) decodeTruncated(v bson.RawValue) error {
	values, ok := listOf(v)
	if !ok {
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

// listOf returns the values of an array, and none of null.
func listOf(v bson.RawValue) (values []bson.RawValue, ok bool) {
	array, ok := v.ArrayOK()
	if !ok {
		return nil, v.Type == bson.TypeNull
	}
	values, err := array.Values()
	return values, err == nil
}

// mayTouch reports whether an update may have changed one of these root fields: it changed one or a
// part of one, or it does not say all that it changed (DESIGN.md, "Only fields that decide").
func (e *event) mayTouch(fields []string) (bool, error) {
	paths, err := e.touched()
	if err != nil {
		return false, err
	}
	touches := slices.ContainsFunc(paths, func(path string) bool {
		if guard.NestedFields {
			path = root(path)
		}
		return slices.Contains(fields, path)
	})
	shown := len(paths) > 0 && !e.vague
	return touches || guard.UnshownFields && !shown, nil
}

// showsAll reports whether updatedFields contain all that an update has changed.
func (e *event) showsAll() bool { return e.updated != nil && len(e.removed) == 0 && !e.vague }

// touched returns the dotted paths of all that an update says it has changed.
func (e *event) touched() ([]string, error) {
	var paths []string
	if guard.RemovedFields {
		paths = slices.Clone(e.removed)
	}
	if e.updated == nil {
		return paths, nil
	}
	elements, err := e.updated.Elements()
	if err != nil {
		return nil, errors.New("an update whose updatedFields cannot be read")
	}
	for _, element := range elements {
		paths = append(paths, element.Key())
	}
	return paths, nil
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

// root is the first name of a dotted path. A field whose own name contains a dot looks the same, so
// it counts as a part of another field: never the other way round, because no field that keytail
// reads has such a name.
func root(path string) string {
	name, _, _ := strings.Cut(path, ".")
	return name
}
