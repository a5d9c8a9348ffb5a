package keyadmin

import (
	"errors"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/managedkey"
	"github.com/keytail/keytail/internal/mongotest"
)

// neighbours are one key of each of three owners, and the text of each key.
type neighbours struct {
	*fixture
	texts map[string]string // id to text
	// ada is user u in organisation acme, bob is user v in acme, eve is user u in
	// another organisation.
	ada, bob, eve string
}

func newNeighbours(t *testing.T, s *mongotest.Server) *neighbours {
	t.Helper()
	n := &neighbours{fixture: newFixture(t, s), texts: map[string]string{}}
	n.config.Validator = &fakeValidator{}
	for _, who := range []struct {
		id        *string
		user, org string
	}{{&n.ada, "u", "acme"}, {&n.bob, "v", "acme"}, {&n.eve, "u", "other"}} {
		written, err := n.Create(n.ctx(), ann, managedkey.Fields{UserID: &who.user, OrgID: &who.org})
		if err != nil {
			t.Fatal(err)
		}
		*who.id = written.Key.Record.KeyID
		n.texts[*who.id] = written.Secret
	}
	return n
}

// documents are all keys as they are stored.
func (n *neighbours) documents() []string {
	n.t.Helper()
	cursor, err := n.keys.Find(n.ctx(), bson.D{})
	if err != nil {
		n.t.Fatal(err)
	}
	var all []bson.Raw
	if err := cursor.All(n.ctx(), &all); err != nil {
		n.t.Fatal(err)
	}
	var texts []string
	for _, raw := range all {
		texts = append(texts, raw.String())
	}
	slices.Sort(texts)
	return texts
}

// attempts are all operations on one key.
func (n *neighbours) attempts(id string) map[string]func(managedkey.Caller) error {
	return map[string]func(managedkey.Caller) error{
		"get":     func(by managedkey.Caller) error { _, err := n.Get(n.ctx(), by, id); return err },
		"find":    func(by managedkey.Caller) error { _, err := n.FindByText(n.ctx(), by, n.texts[id]); return err },
		"explain": func(by managedkey.Caller) error { _, err := n.Explain(n.ctx(), by, id, &apikey.Request{}); return err },
		"update": func(by managedkey.Caller) error {
			_, err := n.Update(n.ctx(), by, id, managedkey.Fields{Name: ptr("mine now")})
			return err
		},
		"rotate":        func(by managedkey.Caller) error { _, err := n.Rotate(n.ctx(), by, id, time.Minute); return err },
		"revoke leaked": func(by managedkey.Caller) error { _, err := n.RevokeLeaked(n.ctx(), by, n.texts[id]); return err },
		"revoke":        func(by managedkey.Caller) error { _, err := n.Revoke(n.ctx(), by, id); return err },
		"delete":        func(by managedkey.Caller) error { _, err := n.Delete(n.ctx(), by, id); return err },
	}
}

// inOrder are the attempts such that each finds the key as it needs it.
var inOrder = []string{"get", "find", "explain", "update", "rotate", "revoke leaked", "revoke", "delete"}

func bound(user, org string) managedkey.Caller {
	return managedkey.Caller{Actor: "tenant", Bound: managedkey.Owner{UserID: user, OrgID: org}}
}

// TestABoundCallerReachesNoOtherKey tries to escape by every operation, also with the
// other owner named in the request; and uses each on its own key.
func TestABoundCallerReachesNoOtherKey(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		n := newNeighbours(t, s)
		before := n.documents()
		for _, c := range []struct {
			by     managedkey.Caller
			others []string
		}{
			{bound("u", ""), []string{n.bob}},
			{bound("", "acme"), []string{n.eve}},
			{bound("u", "acme"), []string{n.bob, n.eve}},
		} {
			for _, id := range c.others {
				for name, attempt := range n.attempts(id) {
					for _, named := range []string{"", "u", "v"} {
						by := c.by
						by.Owner = named
						if err := attempt(by); !errors.Is(err, managedkey.ErrNoSuchKey) {
							t.Errorf("%s of %s by %+v with user_id %q: %v", name, id, by.Bound, named, err)
						}
					}
				}
			}
		}
		if !slices.Equal(before, n.documents()) {
			t.Error("a key has changed")
		}
		n.mustCount(3, 3)
		own := n.attempts(n.ada)
		for _, name := range inOrder {
			if err := own[name](bound("u", "acme")); err != nil {
				t.Errorf("%s of its own key: %v", name, err)
			}
		}
	})
}

// TestABoundCallerSelectsItsOwnKeys in lists, in revocations of all keys, and in the
// audit.
func TestABoundCallerSelectsItsOwnKeys(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		n := newNeighbours(t, s)
		for _, c := range []struct {
			by        managedkey.Caller
			user, org string // of the request
			want      []string
			err       error
		}{
			{by: managedkey.Caller{}, want: []string{n.eve, n.bob, n.ada}},
			{by: bound("u", ""), want: []string{n.eve, n.ada}},
			{by: bound("u", ""), org: "other", want: []string{n.eve}},
			{by: bound("u", ""), user: "u", want: []string{n.eve, n.ada}},
			{by: bound("u", ""), user: "v", err: managedkey.ErrNotPermitted},
			{by: bound("", "acme"), want: []string{n.bob, n.ada}},
			{by: bound("", "acme"), user: "u", want: []string{n.ada}},
			{by: bound("", "acme"), org: "other", err: managedkey.ErrNotPermitted},
			{by: bound("u", "acme"), want: []string{n.ada}},
			{by: bound("u", "acme"), user: "v", err: managedkey.ErrNotPermitted},
			{by: bound("nobody", ""), want: nil},
		} {
			c.by.Owner = c.user
			page, err := n.List(n.ctx(), c.by, managedkey.Query{OrgID: c.org, Limit: 9})
			var ids []string
			for _, key := range page.Keys {
				ids = append(ids, key.Record.KeyID)
			}
			if !errors.Is(err, c.err) || !slices.Equal(ids, c.want) {
				t.Errorf("list by %+v of %q %q: %q, %v", c.by.Bound, c.user, c.org, ids, err)
			}
			named := c.user + c.org
			revoked, err := n.RevokeAll(n.ctx(), c.by, managedkey.Query{OrgID: c.org, Limit: 9}, true)
			switch {
			case named == "":
				if !errors.Is(err, managedkey.ErrInvalid) {
					t.Errorf("a revocation by %+v that names no owner: %v", c.by.Bound, err)
				}
			case !errors.Is(err, c.err) || !slices.Equal(revoked.KeyIDs, c.want):
				t.Errorf("revoke by %+v of %q %q: %q, %v", c.by.Bound, c.user, c.org, revoked.KeyIDs, err)
			}
			if c.org != "" {
				continue // the audit is not selected by it
			}
			audit, err := n.Audit(n.ctx(), c.by, managedkey.AuditQuery{Limit: 9})
			ids = nil
			for _, e := range audit.Entries {
				ids = append(ids, e.KeyID)
			}
			if !errors.Is(err, c.err) || !slices.Equal(ids, c.want) {
				t.Errorf("audit by %+v of %q: %q, %v", c.by.Bound, c.user, ids, err)
			}
		}
		if page, err := n.Audit(n.ctx(), bound("u", ""), managedkey.AuditQuery{KeyID: n.bob, Limit: 9}); err != nil || len(page.Entries) != 0 {
			t.Errorf("the audit of another user's key: %+v, %v", page, err)
		}
		if n.count(n.keys, active) != 3 {
			t.Error("a dry run has revoked")
		}
		done, err := n.RevokeAll(n.ctx(), bound("", "acme"), managedkey.Query{OrgID: "acme", Limit: 9}, false)
		if err != nil || len(done.KeyIDs) != 2 || n.count(n.keys, active) != 1 {
			t.Errorf("%+v, %v", done, err)
		}
		// The cursor of another caller does not continue this one's list.
		first, err := n.List(n.ctx(), managedkey.Caller{}, managedkey.Query{IncludeInactive: true, Limit: 1})
		if err != nil || first.Next == "" {
			t.Fatalf("%+v, %v", first, err)
		}
		if _, err := n.List(n.ctx(), bound("u", ""), managedkey.Query{IncludeInactive: true, Limit: 1, After: first.Next}); !errors.Is(err, managedkey.ErrInvalid) {
			t.Errorf("with the cursor of another caller: %v", err)
		}
	})
}

// TestABoundCallerCreatesItsOwnKeys: the owner of the token is the owner of the key.
func TestABoundCallerCreatesItsOwnKeys(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		n := newNeighbours(t, s)
		for _, c := range []struct {
			by        managedkey.Caller
			user, org *string
			want      managedkey.Owner
			err       error
		}{
			{bound("u", ""), nil, nil, managedkey.Owner{UserID: "u"}, nil},
			{bound("u", ""), ptr("u"), ptr("acme"), managedkey.Owner{UserID: "u", OrgID: "acme"}, nil},
			{bound("u", ""), ptr(""), nil, managedkey.Owner{UserID: "u"}, nil},
			{bound("u", ""), ptr("v"), nil, managedkey.Owner{}, managedkey.ErrNotPermitted},
			{bound("", "acme"), ptr("w"), nil, managedkey.Owner{UserID: "w", OrgID: "acme"}, nil},
			{bound("", "acme"), ptr("w"), ptr(""), managedkey.Owner{UserID: "w", OrgID: "acme"}, nil},
			{bound("", "acme"), ptr("w"), ptr("other"), managedkey.Owner{}, managedkey.ErrNotPermitted},
			{bound("", "acme"), nil, nil, managedkey.Owner{}, managedkey.ErrInvalid},
			{bound("u", "acme"), nil, nil, managedkey.Owner{UserID: "u", OrgID: "acme"}, nil},
			{bound("u", "acme"), nil, ptr("other"), managedkey.Owner{}, managedkey.ErrNotPermitted},
		} {
			before := n.count(n.keys, bson.D{})
			written, err := n.Create(n.ctx(), c.by, managedkey.Fields{UserID: c.user, OrgID: c.org})
			r := &written.Key.Record
			if !errors.Is(err, c.err) || r.UserID != c.want.UserID || r.OrgID != c.want.OrgID {
				t.Errorf("%+v with %v: the key of %q in %q, %v", c.by.Bound, c, r.UserID, r.OrgID, err)
			}
			if made := n.count(n.keys, bson.D{}) - before; (made == 1) != (c.err == nil) {
				t.Errorf("%+v: %d keys", c, made)
			}
		}
	})
}
