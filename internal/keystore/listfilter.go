package keystore

import (
	"crypto/sha256"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

// filterOf returns the filter of a list. The error is ErrCannotStore, and names
// the flag of a field that the mapping lacks: without it the filter would find
// the keys of everyone.
func (s Schema) filterOf(q Query) (bson.D, error) {
	filter := bson.D{}
	for _, owner := range []struct{ field, id, what, flag string }{
		{s.UserID, q.UserID, "a user id", "map-user-id"},
		{s.OrgID, q.OrgID, "an organisation", "map-org-id"},
		{s.ProjectID, q.ProjectID, "a project", "map-project-id"},
	} {
		switch {
		case owner.id == "":
		case owner.field == "":
			return nil, noField(owner.what, owner.flag)
		default:
			filter = append(filter, bson.E{Key: owner.field, Value: bson.D{{Key: "$in", Value: idCandidates(owner.id)}}})
		}
	}
	unused, err := s.unusedFilter(q)
	if err != nil {
		return nil, err
	}
	expiring, err := s.expiringFilter(q)
	if err != nil {
		return nil, err
	}
	filter = append(append(filter, unused...), expiring...)
	if !q.IncludeInactive {
		filter = append(filter, s.activeFilter()...)
	}
	return filter, nil
}

// noField returns the error of a query by a role that the mapping lacks.
func noField(what, flag string) error {
	return explained(ErrCannotStore, "this collection has no field for %s, so keys cannot be selected by it: name the field with --%s", what, flag)
}

// activeFilter finds keys that are switched on.
func (s Schema) activeFilter() bson.D {
	switch s.ActiveForm {
	case ActiveAlways:
		return nil
	case ActiveNegated:
		return bson.D{{Key: s.Active, Value: bson.D{{Key: "$ne", Value: true}}}}
	case ActiveNoDate:
		return bson.D{{Key: s.Active, Value: nil}}
	case ActiveBoolean:
	}
	return bson.D{{Key: s.Active, Value: true}}
}

// unusedFilter finds keys whose last use, if there is one, and whose creation,
// if it is known, are at least UnusedFor ago.
func (s Schema) unusedFilter(q Query) (bson.D, error) {
	if q.UnusedFor == 0 {
		return nil, nil
	}
	if s.LastUsed == "" {
		return nil, noField("the last use", "map-last-used")
	}
	since := bson.NewDateTimeFromTime(q.Now.Add(-q.UnusedFor))
	noneOrBefore := func(field string) bson.D {
		return bson.D{{Key: "$or", Value: bson.A{
			bson.D{{Key: field, Value: nil}},
			bson.D{{Key: field, Value: bson.D{{Key: "$lte", Value: since}}}},
		}}}
	}
	all := bson.A{noneOrBefore(s.LastUsed)}
	if s.CreatedAt != "" {
		all = append(all, noneOrBefore(s.CreatedAt))
	}
	return bson.D{{Key: "$and", Value: all}}, nil
}

// expiringFilter finds keys that have not expired, and will within
// ExpiresWithin.
func (s Schema) expiringFilter(q Query) (bson.D, error) {
	if q.ExpiresWithin == 0 {
		return nil, nil
	}
	if s.ExpiresAt == "" {
		return nil, noField("an expiry", "map-expires-at")
	}
	return bson.D{{Key: s.ExpiresAt, Value: bson.D{
		{Key: "$gt", Value: s.ExpiresForm.stored(q.Now)},
		{Key: "$lte", Value: s.ExpiresForm.stored(q.Now.Add(q.ExpiresWithin))},
	}}}, nil
}

// belongs reports whether a key that the filter has found belongs to the owner
// in the query: the filter also finds arrays that contain the id, and numbers
// that are equal.
func (q Query) belongs(r *apikey.Record) bool {
	is := func(wanted, id string) bool { return wanted == "" || wanted == id }
	return is(q.UserID, r.UserID) && is(q.OrgID, r.OrgID) && is(q.ProjectID, r.ProjectID)
}

// digest identifies a list: a caller that continued with the cursor of another
// list would miss keys without an error. It does not cover Now, so that a list
// can be continued later.
func (q Query) digest() []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %v %d %d", q.UserID, q.OrgID, q.ProjectID, q.IncludeInactive, q.UnusedFor, q.ExpiresWithin))
	const enough = 8
	return sum[:enough]
}
