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

// Get reads a key.
func (a *Admin) Get(ctx context.Context, caller managedkey.Caller, id string) (managedkey.Key, error) {
	ctx, cancel := context.WithTimeout(ctx, a.config.Timeout)
	defer cancel()
	shown, err := a.store.FindByID(ctx, id, caller.Owns)
	if err == nil {
		err = a.auditRead(ctx, caller, actionGet, "", shown)
	}
	if err != nil {
		return managedkey.Key{}, toManagedKeyErr(err)
	}
	return keyOf(shown), nil
}

// causeText is in the audit of a read whose caller has the text of the key.
const causeText = "text"

// FindByText reads the key with this text: each document that has its hash, even if the
// unique index is missing. The errors are those of RevokeLeaked, and contain nothing of
// the text.
func (a *Admin) FindByText(ctx context.Context, caller managedkey.Caller, text string) ([]managedkey.Key, error) {
	hash, err := a.hashOf(text)
	if err != nil {
		return nil, managedkey.Invalid(err.Error())
	}
	ctx, cancel := context.WithTimeout(ctx, a.config.Timeout)
	defer cancel()
	found, err := a.findOwned(ctx, caller, hash)
	if err != nil {
		return nil, toManagedKeyErr(err)
	}
	var keys []managedkey.Key
	for _, shown := range found {
		if err := a.auditRead(ctx, caller, actionGet, causeText, shown); err != nil {
			return nil, toManagedKeyErr(err)
		}
		keys = append(keys, keyOf(shown))
	}
	return keys, nil
}

// List reads keys, newest first.
func (a *Admin) List(ctx context.Context, caller managedkey.Caller, q managedkey.Query) (managedkey.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, a.config.Timeout)
	defer cancel()
	owner, err := caller.Select(q.OrgID)
	if err != nil {
		return managedkey.Page{}, err
	}
	found, err := a.store.List(ctx, a.queryOf(owner, q))
	if err != nil {
		return managedkey.Page{}, toManagedKeyErr(err)
	}
	if err := a.auditList(ctx, caller, owner, q, len(found.Keys)); err != nil {
		return managedkey.Page{}, toManagedKeyErr(err)
	}
	page := managedkey.Page{Next: found.Next}
	for _, shown := range found.Keys {
		page.Keys = append(page.Keys, keyOf(shown))
	}
	return page, nil
}

// queryOf selects the keys of an owner, which is what Caller.Select returns for the
// query.
func (a *Admin) queryOf(owner managedkey.Owner, q managedkey.Query) keystore.Query {
	return keystore.Query{
		UserID: owner.UserID, OrgID: owner.OrgID, ProjectID: q.ProjectID, IncludeInactive: q.IncludeInactive,
		UnusedFor: q.UnusedFor, ExpiresWithin: q.ExpiresWithin, Now: a.now(), After: q.After, Limit: q.Limit,
	}
}

// auditRead writes the entry of a read of one key, before the caller gets the key. cause
// is empty for a read by its id.
func (a *Admin) auditRead(ctx context.Context, caller managedkey.Caller, action, cause string, of keystore.Details) error {
	if !a.config.AuditReads {
		return nil
	}
	e := newEntry(a.now(), action, caller)
	e.Cause, e.KeyID, e.UserID, e.OrgID = cause, of.Record.KeyID, of.Record.UserID, of.Record.OrgID
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
