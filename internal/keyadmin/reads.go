package keyadmin

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/managedkey"
)

// The actions of reads in the audit.
const (
	actionGet     = "get"
	actionExplain = "explain"
	actionList    = "list"
)

// auditRead writes the entry of a read of one key, before the caller gets the key.
func (a *Admin) auditRead(ctx context.Context, caller managedkey.Caller, action string, of keystore.Details) error {
	if !a.config.AuditReads {
		return nil
	}
	e := newEntry(a.now(), action, caller)
	e.KeyID, e.UserID, e.OrgID = of.Record.KeyID, of.Record.UserID, of.Record.OrgID
	return a.insertEntries(ctx, []entry{e})
}

// auditList writes the entry of a page of keys: one for all of them, because a page
// has up to 500.
func (a *Admin) auditList(ctx context.Context, caller managedkey.Caller, owner managedkey.Owner, q managedkey.Query, keys int) error {
	if !a.config.AuditReads {
		return nil
	}
	e := newEntry(a.now(), actionList, caller)
	e.UserID, e.OrgID, e.Count, e.Query = owner.UserID, owner.OrgID, int64(keys), conditions(q)
	return a.insertEntries(ctx, []entry{e})
}

// conditions are those of a query that are not its owner, by the names of the
// parameters of the HTTP API.
func conditions(q managedkey.Query) bson.D {
	var all bson.D
	add := func(is bool, name string, value any) {
		if is {
			all = append(all, bson.E{Key: name, Value: value})
		}
	}
	add(q.ProjectID != "", "project_id", q.ProjectID)
	add(q.IncludeInactive, "include_inactive", true)
	add(q.UnusedFor != 0, "unused_for", q.UnusedFor.String())
	add(q.ExpiresWithin != 0, "expires_within", q.ExpiresWithin.String())
	add(q.After != "", "continued", true)
	return all
}
