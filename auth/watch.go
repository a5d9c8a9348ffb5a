package auth

import (
	"context"
	"time"

	"github.com/keytail/keytail/internal/revocation"
)

// RevocationWatcher is a Validator that learns when keys change. The middleware uses
// it for Principal.Done, CancelOnRevocation and CancelOnOutage. With a Validator that
// is no RevocationWatcher, only the expiry of a key closes Principal.Done.
//
// keytail.Service, client.Client and keytailtest.Validator implement it. A Validator
// that wraps another one should have the method
//
//	Unwrap() auth.Validator
//
// so that the middleware finds the RevocationWatcher inside. Rechecks still call the
// outer Validator.
type RevocationWatcher interface {
	Validator
	// Mark returns a mark of the changes that have been received so far. Take it before
	// you call Validate.
	Mark() uint64
	// Watch begins to watch a key. It misses no change after the mark: if one was
	// received between Mark and Watch, the key is rechecked immediately. The caller must
	// call Stop in the end.
	Watch(request WatchRequest) Watch
}

// WatchRequest describes a key that has a verdict and is to be watched.
type WatchRequest struct {
	// KeyID is the key's id.
	KeyID string
	// Mark is what RevocationWatcher.Mark returned before the key was validated.
	Mark uint64
	// Revision is the verdict's Revision. Zero: unknown.
	Revision uint64
	// ExpiresAt is the first instant at which the key is no longer valid. Zero: never.
	ExpiresAt time.Time
	// ExpiredError is the cause when that instant has come. Nil: a default error.
	ExpiredError error
	// OutageError is the cause when the data is stale and a recheck failed. Nil: an
	// outage does not end the watch.
	OutageError error
	// Recheck validates the key again; the answer must take all changes up to
	// minRevision into account (zero: no such condition). While the key is valid,
	// Recheck returns when it expires now. revoked is why the key is no longer valid,
	// and becomes the cause. A non-nil err means that this is unknown, and Recheck is
	// called again later. One goroutine at a time calls it.
	Recheck func(ctx context.Context, minRevision uint64) (expiresAt time.Time, revoked, err error)
	// OnEnd is called once, after Done is closed. It must not block. Stop does not call
	// it. Nil: no call.
	OnEnd func(cause error)
}

// Watch is one watched key. It is safe for concurrent use.
type Watch interface {
	// Done is closed when the watch ends, but not by Stop.
	Done() <-chan struct{}
	// Err returns why Done is closed, nil while it is open.
	Err() error
	// Again must be called when Recheck requires more than before. The key is rechecked
	// if any key has changed since the mark.
	Again()
	// Stop ends the watch. It may be called twice.
	Stop()
}

// watcherOf returns the RevocationWatcher that is v or is wrapped by it, nil if there
// is none.
func watcherOf(v Validator) RevocationWatcher {
	for v != nil {
		if watcher, ok := v.(RevocationWatcher); ok {
			return watcher
		}
		wrapper, ok := v.(interface{ Unwrap() Validator })
		if !ok {
			return nil
		}
		v = wrapper.Unwrap()
	}
	return nil
}

// expiryWatcher watches keys of a Validator that does not learn of changes: a watch
// ends only by expiry.
type expiryWatcher struct {
	Validator
	watches *revocation.Watches
}

func (w expiryWatcher) Mark() uint64 { return w.watches.Mark() }

func (w expiryWatcher) Watch(request WatchRequest) Watch {
	return w.watches.Add(revocation.Entry(request))
}
