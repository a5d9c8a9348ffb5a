package keyadmin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/managedkey"
)

// The causes of a revocation in the audit.
const (
	causeLeaked = "leaked"
	causeOwner  = "owner"
)

// keysPerTransaction is how many keys one transaction revokes. MongoDB's manual
// ("Production Considerations" for transactions) recommends less than 1,000
// documents, and each key is two: its own and its audit entry.
const keysPerTransaction = 100

// triesTogether is how often a transaction of several keys is tried. It fails if any
// of them is written at the same time, and a leaked key is in heavy use.
const triesTogether = 5

// errConflicts: other writes prevented all of these tries. Nothing was written.
var errConflicts = errors.New("other clients write these keys all the time")

// RevokeLeaked revokes the key with this text: each document that has its hash,
// even if the unique index is missing. A key that is revoked already stays as it
// is, without an audit entry.
//
// A text that cannot be a key is ErrInvalid; a text that no document has is
// ErrNoSuchKey, and this is certain (a linearizable read). No error contains
// anything of the text.
func (a *Admin) RevokeLeaked(ctx context.Context, caller managedkey.Caller, text string) (managedkey.Leaked, error) {
	hash, err := a.hashOf(text)
	if err != nil {
		return managedkey.Leaked{}, managedkey.Invalid(err.Error())
	}
	found, err := a.findOwned(ctx, caller, hash)
	if err != nil {
		return managedkey.Leaked{}, toManagedKeyErr(err)
	}
	r := revocation{Admin: a, caller: caller, cause: causeLeaked}
	for some := range slices.Chunk(found, a.perTransaction) {
		if err := r.revoke(ctx, some); err != nil {
			return managedkey.Leaked{}, err
		}
	}
	if len(r.failed) > 0 {
		f := r.failed[0]
		return managedkey.Leaked{}, &translated{f.Err, fmt.Errorf("the key %s cannot be revoked: %w", f.KeyID, f.Err)}
	}
	leaked := managedkey.Leaked{Revoked: len(r.revoked), Revision: r.revision}
	for _, shown := range r.seen {
		leaked.Keys = append(leaked.Keys, keyOf(shown))
	}
	return leaked, nil
}

// findOwned reads the documents with a hash that the caller's owner has. The error is
// keystore.ErrNoSuchKey if there is none.
func (a *Admin) findOwned(ctx context.Context, caller managedkey.Caller, hash apikey.Hash) ([]keystore.Details, error) {
	ctx, cancel := context.WithTimeout(ctx, a.config.Timeout)
	defer cancel()
	found, err := a.store.FindAllByHash(ctx, hash)
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(d keystore.Details) bool { return !caller.Owns(&d.Record) })
	if len(found) == 0 {
		return nil, keystore.ErrNoSuchKey
	}
	return found, nil
}

// RevokeAll revokes the active keys of an owner: those of the caller's Owner, of
// an organisation, or of a project, which the query names. It revokes at most
// Limit keys, newest first, and less if that takes long: then Next is not empty.
// A repeated call continues, because it finds active keys only.
//
// A dry run changes no key, and returns the keys that a call would revoke.
func (a *Admin) RevokeAll(ctx context.Context, caller managedkey.Caller, q managedkey.Query, dryRun bool) (managedkey.RevokedPage, error) {
	if caller.Owner == "" && q.OrgID == "" && q.ProjectID == "" {
		return managedkey.RevokedPage{}, managedkey.Invalid("the owner of the keys is missing: name a user_id, org_id or project_id")
	}
	owner, err := caller.Select(q.OrgID)
	if err != nil {
		return managedkey.RevokedPage{}, err
	}
	if err := a.store.Schema().CheckRevocable(); err != nil {
		return managedkey.RevokedPage{}, toManagedKeyErr(err)
	}
	ctx, cancel := context.WithTimeout(ctx, a.config.Timeout)
	defer cancel()
	q.IncludeInactive = false
	r := revocation{Admin: a, caller: caller, owner: owner, projectID: q.ProjectID, cause: causeOwner}
	found, err := r.list(ctx, q)
	if err != nil {
		return managedkey.RevokedPage{}, err
	}
	page := managedkey.RevokedPage{Next: found.Next}
	if dryRun {
		if err := a.auditList(ctx, caller, owner, q, len(found.Keys)); err != nil {
			return managedkey.RevokedPage{}, toManagedKeyErr(err)
		}
		page.KeyIDs = idsOf(found.Keys)
		return page, nil
	}
	for r.done < len(found.Keys) && !(r.done > 0 && a.isLate(ctx)) {
		if err := r.revoke(ctx, found.Keys[r.done:min(r.done+a.perTransaction, len(found.Keys))]); err != nil {
			if r.done == 0 {
				return managedkey.RevokedPage{}, err
			}
			// The caller continues from Next, and gets this error if it happens again.
			a.logger.Warn("a revocation of several keys stopped before its limit", zap.Int("revoked", len(r.revoked)), zap.Error(err))
			break
		}
	}
	if r.done < len(found.Keys) {
		if page.Next, err = a.store.Schema().CursorAfter(found.Keys[:r.done], a.queryOf(owner, q)); err != nil {
			return managedkey.RevokedPage{}, toManagedKeyErr(err)
		}
	}
	page.KeyIDs, page.Failed, page.Revision = idsOf(r.revoked), r.failed, r.revision
	return page, nil
}

func idsOf(keys []keystore.Details) []string {
	ids := make([]string, len(keys))
	for i := range keys {
		ids[i] = keys[i].Record.KeyID
	}
	return ids
}

// isLate reports whether half of a call's time is used: a transaction that begins
// later might be interrupted.
func (a *Admin) isLate(ctx context.Context) bool {
	deadline, _ := ctx.Deadline()
	return time.Until(deadline) < a.config.Timeout/2
}

// revocation revokes keys, and has the results.
type revocation struct {
	*Admin
	caller managedkey.Caller
	// owner and projectID select keys. Empty: any.
	owner     managedkey.Owner
	projectID string
	cause     string
	// revoked are the keys that it has switched off, and seen are these and those
	// that were off already, as they are now.
	revoked, seen []keystore.Details
	failed        []managedkey.FailedKey
	// done is how many keys were given and need no other attempt.
	done int
	// revision is that of the last write or read.
	revision clustertime.Time
}

// list reads a page of keys. Its revision counts, too: if there are none left, it is
// that of whoever revoked them.
func (r *revocation) list(ctx context.Context, q managedkey.Query) (found keystore.Page, err error) {
	at, err := r.store.Read(ctx, func(ctx context.Context) error {
		found, err = r.store.List(ctx, r.queryOf(r.owner, q))
		return err
	})
	r.revision = max(r.revision, at)
	return found, toManagedKeyErr(err)
}

// revoke revokes keys by one transaction. If the collection refuses one of them,
// or if there are no transactions, it revokes each by itself. If others write the
// same keys all the time, it makes smaller transactions. The error is one of package
// managedkey, after which a repetition does no harm.
func (r *revocation) revoke(ctx context.Context, keys []keystore.Details) error {
	ids := make([]apikey.DocID, len(keys))
	for i := range keys {
		ids[i] = keys[i].ID
	}
	if len(ids) == 0 {
		return nil
	}
	if !r.noTransactions {
		err := r.revokeTogether(ctx, ids)
		switch {
		case err == nil:
			r.done += len(ids)
			return nil
		case errors.Is(err, errConflicts):
			for half := range slices.Chunk(keys, (len(keys)+1)/2) {
				if err := r.revoke(ctx, half); err != nil {
					return err
				}
			}
			return nil
		case !isOfOneKey(err):
			return err
		}
	}
	for i, id := range ids {
		switch err := r.revokeTogether(ctx, []apikey.DocID{id}); {
		case isOfOneKey(err):
			r.failed = append(r.failed, managedkey.FailedKey{KeyID: keys[i].Record.KeyID, Err: err})
		case err != nil:
			return err
		}
		r.done++
	}
	return nil
}

// isOfOneKey reports whether an error is about one document, so that others can
// still be revoked.
func isOfOneKey(err error) bool {
	return errors.Is(err, managedkey.ErrCannotStore) || errors.Is(err, managedkey.ErrDuplicate) || errors.Is(err, managedkey.ErrChanged)
}

// revokeTogether revokes these keys or, after an error, none of them. Without
// transactions it takes one key.
func (r *revocation) revokeTogether(ctx context.Context, ids []apikey.DocID) error {
	var revoked, seen []keystore.Details
	tries := 0
	written, err := r.write(ctx, func(ctx context.Context) (p *plan, err error) {
		if tries++; tries > triesTogether && len(ids) > 1 {
			return nil, errConflicts
		}
		p, revoked, seen, err = r.plan(ctx, ids)
		return p, err
	})
	var unknown *managedkey.UnknownError
	if errors.As(err, &unknown) {
		return fmt.Errorf("%w: %w", managedkey.ErrInterrupted, unknown.Cause)
	}
	if err != nil {
		return err
	}
	r.revoked, r.seen = append(r.revoked, revoked...), append(r.seen, seen...)
	r.revision = max(r.revision, written.Revision)
	return nil
}

// plan reads the keys again, and plans to switch off those that are on.
func (r *revocation) plan(ctx context.Context, ids []apikey.DocID) (p *plan, revoked, seen []keystore.Details, err error) {
	found, err := r.store.FindDetails(ctx, ids)
	if err != nil {
		return nil, nil, nil, err
	}
	// In the order of the list, which a dry run has, too.
	slices.SortFunc(found, func(a, b keystore.Details) int { return slices.Index(ids, a.ID) - slices.Index(ids, b.ID) })
	off, now := false, r.now()
	p = &plan{}
	var edits []keystore.Edit
	for _, current := range found {
		if !r.selects(&current.Record) {
			continue // it has changed hands since it was found
		}
		edit, err := r.store.Edit(current, keystore.Fields{Active: &off}, now)
		if err != nil {
			return nil, nil, nil, err
		}
		seen = append(seen, edit.After)
		if edit.IsEmpty() {
			continue
		}
		e := r.entry(r.caller, "revoke", &current, &edit.After)
		e.Cause = r.cause
		edits, p.entries, revoked = append(edits, edit), append(p.entries, e), append(revoked, edit.After)
	}
	if len(edits) > 0 {
		p.steps = []step{r.editAll(edits)}
	}
	return p, revoked, seen, nil
}

func (r *revocation) selects(key *apikey.Record) bool {
	return r.caller.Owns(key) && r.owner.Owns(key) && (r.projectID == "" || r.projectID == key.ProjectID)
}

func (a *Admin) editAll(edits []keystore.Edit) step {
	return step{do: func(ctx context.Context) (keystore.Details, error) {
		return keystore.Details{}, a.store.ChangeAll(ctx, edits)
	}}
}
