package keyadmin

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/managedkey"
)

// plan is what a call writes, based on what it has read.
type plan struct {
	// entries are the audit's: one for each key that changes. Without transactions
	// there is exactly one.
	entries []entry
	// steps are writes of one document each (in a transaction, also of several).
	// None: everything is as it should be, and there is no audit entry.
	steps []step
	// shown is the key in the response.
	shown keystore.Details
	// affects is the id of the key whose document shows the outcome.
	affects string
	// end is when the key that a rotation replaces expires.
	end time.Time
}

// step is one write. do returns the document after it, if there is one; undo
// reverts it.
type step struct {
	do   func(ctx context.Context) (keystore.Details, error)
	undo func(ctx context.Context) error
}

func (a *Admin) insert(draft keystore.Draft) step {
	return step{
		do:   func(ctx context.Context) (keystore.Details, error) { return draft.Details, a.store.Insert(ctx, draft) },
		undo: func(ctx context.Context) error { return a.store.Delete(ctx, draft.Details) },
	}
}

func (a *Admin) edit(edit keystore.Edit) step {
	return step{do: func(ctx context.Context) (keystore.Details, error) { return a.store.Change(ctx, edit) }}
}

func (a *Admin) remove(current keystore.Details) step {
	return step{do: func(ctx context.Context) (keystore.Details, error) { return current, a.store.Delete(ctx, current) }}
}

// write makes a plan and executes it. A transaction may be repeated, so make must
// have no side effects.
func (a *Admin) write(ctx context.Context, make func(ctx context.Context) (*plan, error)) (managedkey.Written, error) {
	ctx, cancel := context.WithTimeout(ctx, a.config.Timeout)
	defer cancel()
	do := a.transact
	if a.noTransactions {
		do = a.entryFirst
	}
	var p *plan
	at, err := do(ctx, func(ctx context.Context) (*plan, error) {
		next, err := make(ctx)
		if err == nil {
			p = next
		}
		return next, err
	})
	switch {
	case errors.Is(err, keystore.ErrOutcomeUnknown) && len(p.steps) == 0:
		return managedkey.Written{}, managedkey.ErrUnavailable // there was nothing to write
	case errors.Is(err, keystore.ErrOutcomeUnknown):
		return managedkey.Written{}, &managedkey.UnknownError{KeyID: p.affects, Cause: err}
	case err != nil:
		return managedkey.Written{}, toManagedKeyErr(err)
	}
	return managedkey.Written{Key: keyOf(p.shown), Revision: at}, nil
}

// transact executes a plan and writes its audit entry in one transaction.
func (a *Admin) transact(ctx context.Context, make func(ctx context.Context) (*plan, error)) (at clustertime.Time, err error) {
	for range maxTries {
		// A server with snapshot isolation reports a concurrent write as a conflict.
		if at, err = a.transactOnce(ctx, make); !errors.Is(err, keystore.ErrChanged) {
			break
		}
	}
	return at, err
}

func (a *Admin) transactOnce(ctx context.Context, make func(ctx context.Context) (*plan, error)) (clustertime.Time, error) {
	return a.store.Transact(ctx, func(ctx context.Context) error {
		p, err := make(ctx)
		if err != nil || len(p.steps) == 0 {
			return err
		}
		for i, step := range p.steps {
			shown, err := step.do(ctx)
			if err != nil {
				return err
			}
			if i == 0 {
				p.shown = shown
			}
		}
		return a.insertEntries(ctx, p.entries)
	})
}

// entryFirst does the same without a transaction: the entry, then the steps.
func (a *Admin) entryFirst(ctx context.Context, make func(ctx context.Context) (*plan, error)) (clustertime.Time, error) {
	for try := 1; ; try++ {
		var p *plan
		at, err := a.store.Read(ctx, func(ctx context.Context) (err error) {
			p, err = make(ctx)
			return err
		})
		if err != nil || len(p.steps) == 0 {
			return at, err
		}
		at, err = a.doEntryFirst(ctx, p)
		if !errors.Is(err, keystore.ErrChanged) || try == maxTries {
			return at, err
		}
	}
}

func (a *Admin) doEntryFirst(ctx context.Context, p *plan) (at clustertime.Time, err error) {
	_, err = a.store.WriteOnce(ctx, func(ctx context.Context) error { return a.insertEntries(ctx, p.entries) })
	if errors.Is(err, keystore.ErrOutcomeUnknown) {
		a.undo(ctx, p, 0)
		return 0, managedkey.ErrUnavailable
	}
	if err != nil {
		return 0, err
	}
	for i, step := range p.steps {
		at, err = a.store.WriteOnce(ctx, func(ctx context.Context) error {
			shown, err := step.do(ctx)
			if err == nil && i == 0 {
				p.shown = shown
			}
			return err
		})
		if errors.Is(err, keystore.ErrOutcomeUnknown) {
			return 0, err
		}
		if err != nil {
			if a.undo(ctx, p, i) {
				return 0, err
			}
			return 0, errors.Join(keystore.ErrOutcomeUnknown, err)
		}
	}
	return at, nil
}

// undo reverts the first steps of a plan that has failed, and deletes its entry.
// False: a step could not be reverted. An entry that could not be deleted is
// logged, and does not count: it describes a write that did not happen.
func (a *Admin) undo(ctx context.Context, p *plan, done int) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	for i := done - 1; i >= 0; i-- {
		if p.steps[i].undo == nil {
			return false
		}
		if err := p.steps[i].undo(ctx); err != nil {
			return false
		}
	}
	for _, e := range p.entries {
		if err := a.deleteEntry(ctx, e); err != nil {
			a.logger.Warn("an audit entry describes a change that did not happen and could not be deleted",
				zap.String("line", e.ID.Hex()), zap.String("action", e.Action), zap.String("key_id", e.KeyID), zap.Error(err))
		}
	}
	return true
}
