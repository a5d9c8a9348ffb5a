package validator

import (
	"context"
	"errors"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/guard"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/tracing"
)

// The reasons why there is no answer. The verdict is Unavailable; the reason is
// for the metrics.
var (
	errBusy      = errors.New("too many database reads are in progress")
	errUnreached = errors.New("too many reads are in progress for revisions that the cluster may not have reached")
	errBreaker   = errors.New("the last linearizable read failed, and another attempt is in progress")
	errStale     = errors.New("the data is older than max_stale")
)

// errRevisionAhead is the caller's mistake: apikey.RevisionAhead.
var errRevisionAhead = errors.New("the cluster has not reached this revision yet")

// sharedRead is the result of one shared read, with the ticket by which it is
// revalidated, and the context of the caller for which it was made.
type sharedRead struct {
	ticket  keycache.Ticket
	finding keycache.Finding
	first   context.Context //nolint:containedctx // for its span
}

// read reads from the database, in the order of DESIGN.md: by a shared fill,
// which is stored; by a read that began after this caller arrived; and by a
// linearizable read when the stream is not fresh, so that the other two may be
// too old. The answer contains every change up to needed.
func (v *Validator) read(ctx context.Context, hash apikey.Hash, needed clustertime.Time) (keycache.Answer, apikey.Source, error) {
	fresh := v.config.Cache.Freshness()
	if _, ok := v.config.Cache.AnswerAsOf(fresh, v.config.Now()); !ok {
		return v.readLinearizable(ctx, hash, needed)
	}
	// A result with an untrusted ticket could not be revalidated.
	if fresh.Processed >= needed && v.config.Cache.Trusted() {
		shared, err := v.share(ctx, hash)
		if err != nil {
			return keycache.Answer{}, apikey.SourceNone, err
		}
		answer, ok := v.config.Cache.Revalidate(shared.ticket, hash, shared.finding)
		ok = ok && answer.Revision >= needed
		v.metrics.revalidate(ok)
		if ok {
			return answer, apikey.SourceFill, nil
		}
		// The document changed meanwhile, or the stream has no history. The
		// result of a flight that began before this caller arrived may be older
		// than its arrival.
	}
	return v.readAlone(ctx, hash, needed)
}

// share joins or starts the shared fill of a hash. The fill belongs to no
// caller: it continues if the caller that started it leaves.
func (v *Validator) share(ctx context.Context, hash apikey.Hash) (sharedRead, error) {
	detached, began := tracing.Detach(ctx), false
	result := v.fills.DoChan(string(hash[:]), func() (any, error) {
		began = true
		return v.fill(detached, hash)
	})
	select {
	case <-ctx.Done():
		return sharedRead{}, ctx.Err()
	case r := <-result:
		shared, _ := r.Val.(sharedRead)
		if !began { // the fill of another caller has run, and the channel orders this after it
			v.joined(kindFill)(ctx, shared.first)
		}
		return shared, r.Err
	}
}

// fill reads by hash and stores the result. It takes the ticket before the
// read: keycache/DESIGN.md explains the order.
func (v *Validator) fill(ctx context.Context, hash apikey.Hash) (sharedRead, error) {
	ticket := v.config.Cache.Begin()
	finding, err := v.readLimited(ctx, kindFill, func(ctx context.Context) (keystore.Document, bool, error) {
		return v.config.Store.FindByHash(ctx, hash, ticket.Floor())
	})
	if err == nil {
		v.config.Cache.Store(ticket, hash, finding)
	}
	return sharedRead{ticket: ticket, finding: finding, first: ctx}, err
}

// readKey is what callers must have in common to share a read that is not
// stored: the hash, and the revision that the read must contain.
type readKey struct {
	hash   apikey.Hash
	needed clustertime.Time
}

// readResult is the result of a read that is not stored, and its age: the read
// contains every change that had been acknowledged by fresh.AsOf, and every
// change that had been applied.
type readResult struct {
	fresh   *keycache.Freshness
	finding keycache.Finding
}

// readAlone answers with a read that began after this caller arrived, and that
// is not older than needed. It stores nothing.
func (v *Validator) readAlone(ctx context.Context, hash apikey.Hash, needed clustertime.Time) (keycache.Answer, apikey.Source, error) {
	if _, err := v.rejectAhead(ctx, needed, v.known()); err != nil {
		return keycache.Answer{}, apikey.SourceNone, err
	}
	s, err := v.alone.do(ctx, readKey{hash, needed})
	if err == nil {
		var answer keycache.Answer
		answer, err = v.answer(s)
		// The read was not older than needed, whatever the stream has
		// processed.
		answer.Revision = max(answer.Revision, needed)
		if err == nil {
			return answer, apikey.SourceDirect, nil
		}
	}
	switch {
	case errors.Is(err, errStale):
		return v.readLinearizable(ctx, hash, needed)
	case errors.Is(err, keystore.ErrRevisionAhead) && v.isAhead(ctx, needed):
		err = errRevisionAhead
	}
	return keycache.Answer{}, apikey.SourceNone, err
}

// runAlone is a flight of readAlone. It loads the freshness before the ticket:
// the read contains what had been applied by then, so the answer is not older
// than that.
func (v *Validator) runAlone(ctx context.Context, q readKey) (readResult, error) {
	fresh := v.config.Cache.Freshness()
	if _, ok := v.config.Cache.AnswerAsOf(fresh, v.config.Now()); !ok {
		return readResult{}, errStale // the result would be too old already
	}
	ticket := v.config.Cache.Begin()
	kind := kindDirect
	if guard.RevisionSlots && q.needed > max(fresh.Processed, ticket.Floor(), v.acknowledgedAt()) {
		kind = kindUnreached
	}
	finding, err := v.readLimited(ctx, kind, func(ctx context.Context) (keystore.Document, bool, error) {
		return v.readTwice(ctx, guard.InspectAtRead && !ticket.Trusted(), func() (keystore.Document, bool, error) {
			return v.config.Store.FindByHash(ctx, q.hash, max(ticket.Floor(), q.needed))
		})
	})
	return readResult{fresh: fresh, finding: finding}, err
}

// known is a cluster time that the server has reached: that of a change that
// the stream has delivered, or of the stream's beginning. A read after it is as
// fast as a fill.
func (v *Validator) known() clustertime.Time {
	return max(v.config.Cache.Begin().Floor(), v.processed())
}

// processed is the time up to which the stream has delivered all changes. Zero:
// unknown.
func (v *Validator) processed() clustertime.Time {
	if fresh := v.config.Cache.Freshness(); fresh != nil {
		return fresh.Processed
	}
	return 0
}

// readTwice reads. While no stream reports what happens to the collection, it
// accepts an empty result only if the collection exists. The collection may
// have been recreated since the read, as by a rename away and back, so an empty
// result is read again. (A collection that is dropped and created twice
// within one call is not noticed.)
func (v *Validator) readTwice(ctx context.Context, suspicious bool, read func() (keystore.Document, bool, error)) (keystore.Document, bool, error) {
	document, found, err := read()
	if err != nil || found || !suspicious {
		return document, found, err
	}
	if err := v.config.Store.Inspect(ctx); err != nil {
		return keystore.Document{}, false, err
	}
	if document, found, err = read(); err == nil && !found {
		err = v.config.Store.Inspect(ctx)
	}
	return document, found, err
}

// answer is the answer of a read that is not stored, if it is not too old by
// now.
func (v *Validator) answer(s readResult) (keycache.Answer, error) {
	answer, ok := v.config.Cache.AnswerAsOf(s.fresh, v.config.Now())
	if !ok {
		return keycache.Answer{}, errStale
	}
	answer.Found, answer.ID, answer.Record = s.finding.Found, s.finding.ID, s.finding.Record
	return answer, nil
}

// readLimited makes one read within the limit of concurrent reads and the
// deadline.
func (v *Validator) readLimited(ctx context.Context, kind readKind, read func(context.Context) (keystore.Document, bool, error)) (keycache.Finding, error) {
	if err := v.acquire(kind); err != nil {
		return keycache.Finding{}, err
	}
	defer v.release(kind)
	ctx, span := tracing.Start(ctx, tracing.SpanRead)
	defer span.End()
	ctx, cancel := context.WithTimeout(ctx, v.config.ReadTimeout)
	defer cancel()
	document, found, err := read(ctx)
	v.metrics.read(kind, found, err)
	describeRead(span, kind, found, err)
	if err != nil {
		return keycache.Finding{}, err
	}
	return findingOf(document, found), nil
}

// acquire takes a place for a read, or returns an error if there is none. It
// does not wait.
func (v *Validator) acquire(kind readKind) error {
	if kind == kindUnreached && !v.unreached.TryAcquire(1) {
		return errUnreached
	}
	if v.reads.TryAcquire(1) {
		v.countReading(kind, 1)
		return nil
	}
	if kind == kindUnreached {
		v.unreached.Release(1)
	}
	return errBusy
}

func (v *Validator) release(kind readKind) {
	v.countReading(kind, -1)
	v.reads.Release(1)
	if kind == kindUnreached {
		v.unreached.Release(1)
	}
}

// countReading counts the places that are taken, for the metrics: a semaphore does
// not tell.
func (v *Validator) countReading(kind readKind, change int64) {
	v.reading.Add(change)
	if kind == kindUnreached {
		v.readingUnreached.Add(change)
	}
}

func findingOf(document keystore.Document, found bool) keycache.Finding {
	if !found {
		return keycache.Finding{}
	}
	finding := keycache.Found(document.ID, &document.Record)
	finding.Ambiguous = document.Ambiguous
	return finding
}
