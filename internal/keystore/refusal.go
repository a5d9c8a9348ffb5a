package keystore

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/guard"
)

// RefusalIn reads what the updatedFields of an update say about the switch and
// the expiry, in the forms of the mapping and as Decode reads them. The result
// is zero unless the update is plain: it sets no other field that Decode reads,
// no part of any, and no value that Decode cannot read. By a plain update the
// document changes in its switch and its expiry alone.
//
// The result is also zero if the update switches the key on.
func (s Schema) RefusalIn(updated bson.Raw) apikey.Refusal {
	elements, err := elements(updated)
	if err != nil {
		return apikey.Refusal{}
	}
	d := decoder{schema: s}
	for _, e := range elements {
		switch kind := s.kindOf(e.Key()); {
		case kind == fieldActive, kind == fieldExpiry:
			d.readElement([]byte(e.Key()), e.Value())
		case guard.RefusalPlain && s.readsPartOf(e.Key()):
			return apikey.Refusal{}
		}
	}
	r := &d.doc.Record
	if len(d.defects) > 0 || r.Active {
		return apikey.Refusal{}
	}
	return apikey.Refusal{Off: d.seen[fieldActive], Expires: d.seen[fieldExpiry], ExpiresAt: r.ExpiresAt}
}

// readsPartOf reports whether Decode reads the field that a dotted path belongs
// to.
func (s *Schema) readsPartOf(path string) bool {
	root, _, _ := strings.Cut(path, ".")
	return s.kindOf(root) != fieldUnread
}
