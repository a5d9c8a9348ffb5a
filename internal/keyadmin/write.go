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

// plan is what a call does, made of what it has read.
type plan struct {
	entry entry
	// steps are writes of one document each. None: it is all as it should be, and
	// there is no line either.
	steps []step
	// shown is the key of the answer, as it will be.
	shown keystore.Shown
	// names is the id of the key whose document tells what has become of it all.
	names string
	// end is when the key ends that a rotation replaces.
	end time.Time
}

// step is one write. do returns the document as it is then, if there is one; undo
// takes the step back.
type step struct {
	do   func(ctx context.Context) (keystore.Shown, error)
	undo func(ctx context.Context) error
}

func (a *Admin) insert(draft keystore.Draft) step {
	return step{
		do:   func(ctx context.Context) (keystore.Shown, error) { return draft.Shown, a.store.Insert(ctx, draft) },
		undo: func(ctx context.Context) error { return a.store.Delete(ctx, draft.Shown) },
	}
}

func (a *Admin) edit(edit keystore.Edit) step {
	return step{do: func(ctx context.Context) (keystore.Shown, error) { return a.store.Change(ctx, edit) }}
}

func (a *Admin) remove(was keystore.Shown) step {
	return step{do: func(ctx context.Context) (keystore.Shown, error) { return was, a.store.Delete(ctx, was) }}
}

// write makes a plan and does it. In a transaction that may be more than once, so
// make has no effect of its own.
func (a *Admin) write(ctx context.Context, make func(ctx context.Context) (*plan, error)) (managedkey.Written, error) {
	ctx, cancel := context.WithTimeout(ctx, a.config.Timeout)
	defer cancel()
	do := a.transact
	if a.alone {
		do = a.inOrder
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
		return managedkey.Written{}, &managedkey.UnknownError{KeyID: p.names, Cause: err}
	case err != nil:
		return managedkey.Written{}, inWords(err)
	}
	return managedkey.Written{Key: keyOf(p.shown), Revision: at}, nil
}

// transact does a plan and its line in one transaction.
func (a *Admin) transact(ctx context.Context, make func(ctx context.Context) (*plan, error)) (at clustertime.Time, err error) {
	for range maxTries {
		// A server that takes snapshots seriously says by itself that somebody else
		// was faster.
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
		return a.note(ctx, p.entry)
	})
}

// inOrder does the same without a transaction: the line, then the steps.
func (a *Admin) inOrder(ctx context.Context, make func(ctx context.Context) (*plan, error)) (clustertime.Time, error) {
	for try := 1; ; try++ {
		var p *plan
		at, err := a.store.Look(ctx, func(ctx context.Context) (err error) {
			p, err = make(ctx)
			return err
		})
		if err != nil || len(p.steps) == 0 {
			return at, err
		}
		at, err = a.doInOrder(ctx, p)
		if !errors.Is(err, keystore.ErrChanged) || try == maxTries {
			return at, err
		}
	}
}

func (a *Admin) doInOrder(ctx context.Context, p *plan) (at clustertime.Time, err error) {
	_, err = a.store.Alone(ctx, func(ctx context.Context) error { return a.note(ctx, p.entry) })
	if errors.Is(err, keystore.ErrOutcomeUnknown) {
		a.takeBack(ctx, p, 0)
		return 0, managedkey.ErrUnavailable
	}
	if err != nil {
		return 0, err
	}
	for i, step := range p.steps {
		at, err = a.store.Alone(ctx, func(ctx context.Context) error {
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
			if a.takeBack(ctx, p, i) {
				return 0, err
			}
			return 0, errors.Join(keystore.ErrOutcomeUnknown, err)
		}
	}
	return at, nil
}

// takeBack undoes the first steps of a plan that has failed, and removes its line.
// False: something is left. A line alone is not: it tells of what did not happen,
// which a log line says.
func (a *Admin) takeBack(ctx context.Context, p *plan, done int) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeBackTimeout)
	defer cancel()
	for i := done - 1; i >= 0; i-- {
		if p.steps[i].undo == nil {
			return false
		}
		if err := p.steps[i].undo(ctx); err != nil {
			return false
		}
	}
	if err := a.strike(ctx, p.entry); err != nil {
		a.logger.Warn("a line of the audit tells of what did not happen, and cannot be taken back",
			zap.String("line", p.entry.ID.Hex()), zap.String("action", p.entry.Action), zap.String("key_id", p.entry.KeyID), zap.Error(err))
	}
	return true
}
