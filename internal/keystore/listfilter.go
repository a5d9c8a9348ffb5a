package keystore

import (
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

// pageFilter returns the filter of a page. Where it is an $or, each of its branches is
// complete in itself: one value of the owner by whom the list is read, one range of the
// order, and all other conditions. So each branch is one range of an index that has the
// owner and the order, and the server merges them without sorting ("$or and sort
// Operations" in MongoDB's manual).
//
// The error is ErrCursor, or ErrCannotStore: without the field of a condition
// the filter would find the keys of everyone.
func (s Schema) pageFilter(q Query) (bson.D, error) {
	owners, others, err := s.ownerFilters(q)
	if err != nil {
		return nil, err
	}
	rest, err := s.stateFilter(q)
	if err != nil {
		return nil, err
	}
	ranges := []bson.D{{}}
	if q.After != "" {
		at, err := s.parseCursor(q)
		if err != nil {
			return nil, err
		}
		ranges = s.rangesAfter(at)
	}
	var branches []bson.D
	for _, owner := range owners {
		for _, r := range ranges {
			branches = append(branches, allOf(owner, r, others, rest))
		}
	}
	return anyOf(branches), nil
}

// ownerRole is a condition on an owner of keys.
type ownerRole struct{ field, id, what, flag string }

// owners returns the conditions on owners, the one that selects fewest first.
func (s Schema) owners(q Query) []ownerRole {
	all := []ownerRole{
		{s.UserID, q.UserID, "a user id", "map-user-id"},
		{s.OrgID, q.OrgID, "an organisation", "map-org-id"},
		{s.ProjectID, q.ProjectID, "a project", "map-project-id"},
	}
	return slices.DeleteFunc(all, func(r ownerRole) bool { return r.id == "" })
}

// ownerFilters returns a filter for each value that the first owner's id can have in a
// document, and one for all other owners. The filters are empty without an owner.
func (s Schema) ownerFilters(q Query) (first []bson.D, others bson.D, err error) {
	roles := s.owners(q)
	for _, r := range roles {
		if r.field == "" {
			return nil, nil, noField(r.what, r.flag)
		}
	}
	if len(roles) == 0 {
		return []bson.D{{}}, nil, nil
	}
	for _, value := range idCandidates(roles[0].id) {
		first = append(first, condition(roles[0].field, "$eq", value))
	}
	for _, r := range roles[1:] {
		others = append(others, condition(r.field, "$in", idCandidates(r.id))...)
	}
	return first, others, nil
}

// stateFilter finds keys by what is not an owner.
func (s Schema) stateFilter(q Query) (bson.D, error) {
	unused, err := s.unusedFilter(q)
	if err != nil {
		return nil, err
	}
	expiring, err := s.expiringFilter(q)
	if err != nil {
		return nil, err
	}
	if q.IncludeInactive {
		return allOf(unused, expiring), nil
	}
	return allOf(unused, expiring, s.activeFilter()), nil
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
