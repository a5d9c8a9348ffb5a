package keystore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// ErrNoListIndex means that an index is missing that has the keys of a list in its
// order, so the server reads and sorts more than a page for each page. The indexes are
// a recommendation: a list is complete without them.
var ErrNoListIndex = errors.New("there is no index for lists of keys")

// listIndex is an index that serves lists of keys.
type listIndex struct {
	key bson.D
	// owner is the field of the owner whose lists it serves. Documents without it are
	// not in the index. Empty: the index serves the lists of all keys.
	owner string
}

// listIndexes returns the indexes that List reads from a position on: one for all keys,
// and one for each kind of owner.
func (s Schema) listIndexes() []listIndex {
	all := []listIndex{{key: s.newestFirst()}}
	for _, owner := range []string{s.UserID, s.OrgID, s.ProjectID} {
		if owner != "" {
			all = append(all, s.ownerIndex(owner))
		}
	}
	return all
}

func (s Schema) ownerIndex(owner string) listIndex {
	return listIndex{append(bson.D{{Key: owner, Value: 1}}, s.newestFirst()...), owner}
}

// listIndexFor returns an index that serves a list better than that of all keys, if there
// can be one.
func (s Schema) listIndexFor(q Query) listIndex {
	switch owners := s.owners(q); {
	case len(owners) > 0:
		return s.ownerIndex(owners[0].field)
	case q.ExpiresWithin != 0:
		return listIndex{key: bson.D{{Key: s.ExpiresAt, Value: 1}}}
	case q.UnusedFor != 0:
		return listIndex{key: bson.D{{Key: s.LastUsed, Value: 1}}}
	}
	return listIndex{key: s.newestFirst()}
}

// partial is the filter of documents in the index. Nil: all.
func (l listIndex) partial() bson.D {
	if l.owner == "" {
		return nil
	}
	return condition(l.owner, "$exists", true)
}

func (l listIndex) model() mongo.IndexModel {
	if l.owner == "" {
		return mongo.IndexModel{Keys: l.key}
	}
	return mongo.IndexModel{Keys: l.key, Options: options.Index().SetPartialFilterExpression(l.partial())}
}

// command is the mongosh command that creates the index.
func (l listIndex) command(collection string) string {
	fields := make([]string, len(l.key))
	for i, e := range l.key {
		fields[i] = fmt.Sprintf("%q: %v", e.Key, e.Value)
	}
	more := ""
	if l.owner != "" {
		more = fmt.Sprintf(", {partialFilterExpression: {%q: {$exists: true}}}", l.owner)
	}
	return fmt.Sprintf("db.getCollection(%q).createIndex({%s}%s)", collection, strings.Join(fields, ", "), more)
}

// CheckListIndexes reports which indexes for List are missing. Its error is a sentence
// for people; the caller can continue without the indexes.
func (s *Store) CheckListIndexes(ctx context.Context) error {
	missing, err := s.missingListIndexes(ctx)
	if err != nil || len(missing) == 0 {
		return err
	}
	commands := make([]string, len(missing))
	for i, l := range missing {
		commands[i] = l.command(s.schema.Collection)
	}
	return explained(ErrNoListIndex, "%s lacks indexes for the admin API's lists, so the server may read and sort the collection for each page: create them with %s, or with --ensure-schema",
		s.Namespace(), strings.Join(commands, "; "))
}

// CreateListIndexes creates the indexes for List that are missing, by one read of the
// collection, and returns how many they were. It takes as long as MongoDB needs for
// that: a deadline of ctx ends the build of the indexes.
func (s *Store) CreateListIndexes(ctx context.Context) (created int, err error) {
	missing, err := s.missingListIndexes(ctx)
	if err != nil || len(missing) == 0 {
		return 0, err
	}
	models := make([]mongo.IndexModel, len(missing))
	for i, l := range missing {
		models[i] = l.model()
	}
	if _, err := s.database.Collection(s.schema.Collection).Indexes().CreateMany(ctx, models); err != nil {
		return 0, s.explain("creating the indexes for lists of keys of "+s.Namespace(), err)
	}
	return len(missing), nil
}

func (s *Store) missingListIndexes(ctx context.Context) ([]listIndex, error) {
	indexes, err := s.indexes(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(s.schema.listIndexes(), func(l listIndex) bool { return slices.ContainsFunc(indexes, l.servedBy) }), nil
}

// servedBy reports whether an index has, for each value of the owner, all documents in
// the order of the list or in the reverse order.
func (l listIndex) servedBy(i index) bool {
	elements, err := i.Key.Elements()
	if err != nil || len(elements) < len(l.key) || i.Hidden || i.hasCollation() || i.isSparse() {
		return false
	}
	if i.Partial != nil && (l.owner == "" || !existsAlone(i.Partial, l.owner)) {
		return false
	}
	var up, down int
	for n, want := range l.key {
		direction, ok := elements[n].Value().AsFloat64OK()
		switch {
		case !ok || elements[n].Key() != want.Key:
			return false
		case want.Key == l.owner: // one value at a time, in either direction
		case direction < 0:
			down++
		default:
			up++
		}
	}
	return up == 0 || down == 0
}

func (i index) isSparse() bool {
	yes, ok := i.Sparse.BooleanOK()
	return ok && yes
}
