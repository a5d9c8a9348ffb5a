package keystore

import (
	"context"
	"maps"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

const (
	// maxSurveyBytes limits how much a Survey reads, because a document may have
	// 16 MiB and metadata is read, too. Over it, fewer documents are read.
	maxSurveyBytes = 64 << 20
	// othersFrom is how many documents are read whole, for the names of fields
	// without a role.
	othersFrom = 10
)

// readEnds calls see for some documents: half of the limit from each end of the
// order by _id, which the index on _id makes fast however large the collection
// is. If the halves meet, see gets documents twice. ($sample would give a
// different result each time, and reads all of a small collection.)
func (s *Store) readEnds(ctx context.Context, limit int, projection bson.D, see func(bson.Raw)) error {
	for _, half := range []struct{ order, limit int }{{1, (limit + 1) / 2}, {-1, limit / 2}} {
		if half.limit == 0 {
			continue
		}
		all, err := s.readEnd(ctx, half.order, half.limit, projection, see)
		if err != nil {
			return s.explain("reading documents of "+s.Namespace(), err)
		}
		if all {
			break
		}
	}
	return nil
}

// readEnd reports whether it has read all documents of the collection.
func (s *Store) readEnd(ctx context.Context, order, limit int, projection bson.D, see func(bson.Raw)) (all bool, err error) {
	find := findSortedByID(order).SetLimit(int64(limit)).SetProjection(projection)
	cursor, err := s.keys.Find(ctx, bson.D{}, find)
	if err != nil {
		return false, err
	}
	defer func() { _ = cursor.Close(context.WithoutCancel(ctx)) }()
	n, size := 0, 0
	for size < s.surveyBytes/2 && cursor.Next(ctx) {
		see(cursor.Current)
		n, size = n+1, size+len(cursor.Current)
	}
	return n < limit && size < s.surveyBytes/2, cursor.Err()
}

// mappedFields is the projection of a Survey: documents may have other fields of
// any size.
func (s Schema) mappedFields() bson.D {
	var projection bson.D
	for _, f := range s.fields() {
		if f.name != "" {
			projection = append(projection, bson.E{Key: f.name, Value: 1})
		}
	}
	return projection
}

// readOtherFields reads the names of root fields that have no role, from a few
// documents.
func (s *Store) readOtherFields(ctx context.Context, found *Survey) error {
	names, off := map[string]struct{}{}, map[string]struct{}{}
	err := s.readEnds(ctx, othersFrom, bson.D{}, func(doc bson.Raw) { s.schema.addOtherFields(names, off, doc) })
	found.OffFields = slices.Sorted(maps.Keys(off))
	if found.lacksFields() {
		found.Others = slices.Sorted(maps.Keys(names))
	}
	return err
}

// addOtherFields adds the names of a document's root fields that have no role,
// up to maxOthers, and of those that could be a switch.
func (s Schema) addOtherFields(names, off map[string]struct{}, doc bson.Raw) {
	elements, _ := elements(doc)
	for _, e := range elements {
		name := e.Key()
		if s.hasRole(name) || !CanBeFieldName(name) {
			continue
		}
		if len(names) < maxOthers {
			names[name] = struct{}{}
		}
		if len(off) < maxOthers && NameMeansOff(name) && couldSwitch(e.Value()) {
			off[name] = struct{}{}
		}
	}
}

func couldSwitch(v bson.RawValue) bool {
	return v.Type == bson.TypeBoolean || v.Type == bson.TypeDateTime || v.Type == bson.TypeNull
}
