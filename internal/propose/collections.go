package propose

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/keystore"
)

// Collection is a collection with its number of documents by its metadata. Unknown:
// this user may not count them.
type Collection struct {
	Name      string
	Documents int64
	Unknown   bool
}

// CollectionList is the collections of a database that this user may see.
type CollectionList struct {
	names, views []string
	// Likely are those whose name looks like one of keys, sorted.
	Likely []Collection
}

// Collections lists the collections of a database. Views are not among them.
func Collections(ctx context.Context, db *mongo.Database) (*CollectionList, error) {
	cursor, err := db.ListCollections(ctx, bson.D{}, options.ListCollections().SetNameOnly(true).SetAuthorizedCollections(true))
	if keystore.NotAllowed(err) {
		// MongoDB lists those on which the user has any privilege: it has none here.
		return nil, fmt.Errorf("listing the collections is not allowed: check the name of the database, %s, and grant the user of the connection string find and listIndexes on the collection of the keys: %w", db.Name(), err)
	}
	if err != nil {
		return nil, keystore.Explain(db.Name(), "listing the collections of "+db.Name(), err)
	}
	var all []struct{ Name, Type string }
	if err := cursor.All(ctx, &all); err != nil {
		return nil, keystore.Explain(db.Name(), "listing the collections of "+db.Name(), err)
	}
	list := &CollectionList{}
	for _, c := range all {
		if c.Type == "view" {
			list.views = append(list.views, c.Name)
		}
		if c.Type != "collection" || strings.HasPrefix(c.Name, "system.") || strings.HasPrefix(c.Name, "keytail_") {
			continue
		}
		list.names = append(list.names, c.Name)
		if !namesKeys(c.Name) {
			continue
		}
		n, err := db.Collection(c.Name).EstimatedDocumentCount(ctx)
		unknown := keystore.NotAllowed(err) // the user may have another privilege on it, such as insert
		if err != nil && !unknown {
			return nil, keystore.Explain(db.Name(), "counting the documents of "+c.Name, err)
		}
		list.Likely = append(list.Likely, Collection{c.Name, n, unknown})
	}
	slices.SortFunc(list.Likely, func(a, b Collection) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func namesKeys(name string) bool {
	plain := plainName(name)
	return slices.ContainsFunc([]string{"key", "token", "credential", "secret"}, func(word string) bool { return strings.Contains(plain, word) })
}

// Exists reports whether there is a collection with this name.
func (l *CollectionList) Exists(name string) bool { return slices.Contains(l.names, name) }

// IsView reports whether there is a view with this name.
func (l *CollectionList) IsView(name string) bool { return slices.Contains(l.views, name) }

// Describe names the likely ones, or else the others, as the end of a sentence
// that asks for a name.
func (l *CollectionList) Describe() string {
	var parts []string
	for _, c := range l.Likely {
		if c.Unknown {
			parts = append(parts, c.Name+" (which this user may not read)")
			continue
		}
		parts = append(parts, fmt.Sprintf("%s (%s)", c.Name, documents(int(c.Documents))))
	}
	switch {
	case parts != nil:
		return ", such as " + strings.Join(parts, ", ")
	case len(l.names) == 0:
		return " (this user sees no collection there: is the name of the database right?)"
	}
	return "; it has " + enumerate(slices.Sorted(slices.Values(l.names)))
}
