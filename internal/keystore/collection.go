package keystore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// maxNamed is the maximum number of collections that an error names.
const maxNamed = 10

// listedCollection is a collection as listCollections reports it, with
// nameOnly.
type listedCollection struct {
	Name string
	Type string
}

// Inspect checks whether the collection exists and has a change stream. It is
// called at the start and each time the change stream is opened without a
// resume token, because a stream of a database opens even if there is no
// collection, or a view, and then delivers nothing. Nil: the collection is
// fine. ErrCollectionMissing, ErrIsView and ErrIsTimeseries are results of the
// check; any other error means that the check could not be made.
//
// It needs no privilege beyond those on the collection itself.
func (s *Store) Inspect(ctx context.Context) error {
	collections, err := s.collections(ctx)
	if err != nil {
		return s.explain("listing the collections of "+s.database.Name(), err)
	}
	return s.checkType(collections)
}

func (s *Store) checkType(collections []listedCollection) error {
	i := slices.IndexFunc(collections, func(c listedCollection) bool { return c.Name == s.schema.Collection })
	if i < 0 {
		return explained(ErrCollectionMissing, "database %q has no collection %q, %s: name the collection of the keys, or create it with --ensure-schema",
			s.database.Name(), s.schema.Collection, others(collections))
	}
	switch kind := collections[i].Type; kind {
	case "collection":
		return nil
	case "view":
		return explained(ErrIsView, "%s is a view, which has no change stream: name the collection that it is made from", s.Namespace())
	default:
		return explained(ErrIsTimeseries, "%s is of type %q, which has no change stream: keep the keys in a plain collection", s.Namespace(), kind)
	}
}

// collections lists without a filter, so that an error can name the collections
// that exist, and only those that this user may see.
func (s *Store) collections(ctx context.Context) ([]listedCollection, error) {
	cursor, err := s.database.ListCollections(ctx, bson.D{}, options.ListCollections().
		SetNameOnly(true).
		SetAuthorizedCollections(true))
	if err != nil {
		return nil, err
	}
	var collections []listedCollection
	err = cursor.All(ctx, &collections)
	return collections, err
}

// others lists the collections by name, without those of the server.
func others(collections []listedCollection) string {
	var names []string
	for _, c := range collections {
		if !strings.HasPrefix(c.Name, "system.") {
			names = append(names, c.Name)
		}
	}
	if len(names) == 0 {
		return "and no other that this user may see"
	}
	slices.Sort(names)
	if more := len(names) - maxNamed; more > 0 {
		names = append(names[:maxNamed], fmt.Sprintf("and %d more", more))
	}
	return "but has " + strings.Join(names, ", ")
}
