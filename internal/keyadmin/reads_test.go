package keyadmin

import (
	"errors"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/managedkey"
	"github.com/keytail/keytail/internal/mongotest"
)

func auditingReads(c *Config) { c.AuditReads, c.Validator = true, &fakeValidator{} }

// newest is the newest entry of the audit.
func (o *fixture) newest() managedkey.Entry {
	o.t.Helper()
	page, err := o.Audit(o.ctx(), ann, managedkey.AuditQuery{Limit: 1})
	if err != nil || len(page.Entries) != 1 {
		o.t.Fatalf("%+v, %v", page, err)
	}
	return page.Entries[0]
}

// TestReadsAreInTheAudit: each read of keys has an entry, with who, what and how.
func TestReadsAreInTheAudit(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		o := newFixture(t, s, auditingReads)
		created := o.createKey("u")
		id := created.Key.Record.KeyID
		by := managedkey.Caller{Actor: "ann", RequestID: "request-1", Bound: managedkey.Owner{UserID: "u"}}
		query := managedkey.Query{ProjectID: "p", IncludeInactive: true, UnusedFor: time.Hour, Limit: 5}
		for name, c := range map[string]struct {
			read func() error
			want managedkey.Entry
		}{
			"get":     {func() error { _, err := o.Get(o.ctx(), by, id); return err }, managedkey.Entry{Action: "get", KeyID: id}},
			"explain": {func() error { _, err := o.Explain(o.ctx(), by, id, &apikey.Request{}); return err }, managedkey.Entry{Action: "explain", KeyID: id}},
			"find":    {func() error { _, err := o.FindByText(o.ctx(), by, created.Secret); return err }, managedkey.Entry{Action: "get", Cause: "text", KeyID: id}},
			"list": {
				func() error { _, err := o.List(o.ctx(), by, query); return err },
				managedkey.Entry{Action: "list", Query: []byte(`{"project_id":"p","include_inactive":true,"unused_for":"1h0m0s"}`)},
			},
			"all": {func() error { _, err := o.List(o.ctx(), by, managedkey.Query{Limit: 5}); return err }, managedkey.Entry{Action: "list", Count: 1}},
			"dry run": {func() error {
				named := by
				named.Owner = "u"
				_, err := o.RevokeAll(o.ctx(), named, managedkey.Query{Limit: 5}, true)
				return err
			}, managedkey.Entry{Action: "list", Count: 1}},
		} {
			before := o.count(o.lines, bson.D{})
			if err := c.read(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			got := o.newest()
			if o.count(o.lines, bson.D{}) != before+1 || got.Action != c.want.Action || got.Cause != c.want.Cause || got.KeyID != c.want.KeyID || got.Count != c.want.Count ||
				string(got.Query) != string(c.want.Query) || got.UserID != "u" || got.Actor != "ann" || got.RequestID != "request-1" || got.Before != nil || got.After != nil {
				t.Errorf("%s: %+v", name, got)
			}
		}
		if found, err := o.FindByText(o.ctx(), by, created.Secret); err != nil || len(found) != 1 || found[0].Record.KeyID != id {
			t.Errorf("by its text: %+v, %v", found, err)
		}
		// Nothing was read.
		before := o.count(o.lines, bson.D{})
		if _, err := o.Get(o.ctx(), by, "nobody"); !errors.Is(err, managedkey.ErrNoSuchKey) {
			t.Errorf("a key that does not exist: %v", err)
		}
		if _, err := o.FindByText(o.ctx(), by, "no key"); !errors.Is(err, managedkey.ErrInvalid) {
			t.Errorf("a text that is no key: %v", err)
		}
		if n := o.count(o.lines, bson.D{}); n != before {
			t.Errorf("%d entries for it", n-before)
		}
	})
}

// TestAReadWithoutAnEntryFails: nobody sees a key while the audit cannot be written.
func TestAReadWithoutAnEntryFails(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		o := newFixture(t, s, auditingReads)
		created := o.createKey("u")
		id := created.Key.Record.KeyID
		defer o.fail("alwaysOn", commands("insert"), code(11601))()
		if found, err := o.FindByText(o.ctx(), ann, created.Secret); !errors.Is(err, managedkey.ErrUnavailable) || found != nil {
			t.Errorf("find: %+v, %v", found, err)
		}
		key, err := o.Get(o.ctx(), ann, id)
		if !errors.Is(err, managedkey.ErrUnavailable) || key.Record.KeyID != "" {
			t.Errorf("get: %+v, %v", key, err)
		}
		page, err := o.List(o.ctx(), ann, managedkey.Query{Limit: 5})
		if !errors.Is(err, managedkey.ErrUnavailable) || len(page.Keys) != 0 {
			t.Errorf("list: %+v, %v", page, err)
		}
		if e, err := o.Explain(o.ctx(), ann, id, &apikey.Request{}); !errors.Is(err, managedkey.ErrUnavailable) || e.KeyID != "" {
			t.Errorf("explain: %+v, %v", e, err)
		}
		if p, err := o.RevokeAll(o.ctx(), ofOwner("u"), managedkey.Query{Limit: 5}, true); !errors.Is(err, managedkey.ErrUnavailable) || len(p.KeyIDs) != 0 {
			t.Errorf("dry run: %+v, %v", p, err)
		}
	})
}

func TestTheAuditIsSelectedByAction(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		o := newFixture(t, s, auditingReads)
		id := o.createKey("u").Key.Record.KeyID
		for range 2 {
			if _, err := o.Get(o.ctx(), ann, id); err != nil {
				t.Fatal(err)
			}
		}
		page, err := o.Audit(o.ctx(), ann, managedkey.AuditQuery{Action: "get", Limit: 1})
		if err != nil || len(page.Entries) != 1 || page.Entries[0].Action != "get" || page.Next == "" {
			t.Fatalf("%+v, %v", page, err)
		}
		if _, err := o.Audit(o.ctx(), ann, managedkey.AuditQuery{Limit: 1, After: page.Next}); !errors.Is(err, managedkey.ErrInvalid) {
			t.Errorf("with the cursor of another list: %v", err)
		}
		if rest, err := o.Audit(o.ctx(), ann, managedkey.AuditQuery{Action: "get", Limit: 1, After: page.Next}); err != nil || len(rest.Entries) != 1 || rest.Next != "" {
			t.Errorf("%+v, %v", rest, err)
		}
	})
}
