package validator

import (
	"context"
	"errors"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/guard"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
)

// Why a truth is not to be had. The caller's answer is Unavailable; the reason
// is for the metrics.
var (
	errBusy      = errors.New("too many reads of the database are under way")
	errUnreached = errors.New("too many reads are under way after revisions that nobody knows the cluster to have been at")
	errBreaker   = errors.New("the last linearizable read failed, and another one is finding out whether the next would")
	errStale     = errors.New("what could be known is older than max_stale")
)

// errAhead is the caller's own mistake: apikey.RevisionAhead.
var errAhead = errors.New("the cluster has not been at this revision yet")

// filled is what one shared read found, with the ticket that vouches for it.
type filled struct {
	ticket  keycache.Ticket
	finding keycache.Finding
}

// read asks the database, in the order that DESIGN.md argues: by a shared fill,
// which is stored; by a read that began after this caller arrived; and when the
// stream is too old to vouch for either, by a linearizable one. The answer has
// needed in it.
func (v *Validator) read(ctx context.Context, hash apikey.Hash, needed clustertime.Time) (keycache.Answer, apikey.Source, error) {
	fresh := v.config.Cache.Freshness()
	if _, ok := v.config.Cache.AnswerAsOf(fresh, v.config.Now()); !ok {
		return v.readLinearizable(ctx, hash, needed)
	}
	// Of an untrusted ticket nothing could be vouched for.
	if fresh.Processed >= needed && v.config.Cache.Trusted() {
		shared, err := v.share(ctx, hash)
		if err != nil {
			return keycache.Answer{}, apikey.SourceNone, err
		}
		answer, ok := v.config.Cache.Revalidate(shared.ticket, hash, shared.finding)
		if ok && answer.Revision >= needed {
			return answer, apikey.SourceFill, nil
		}
		// It changed meanwhile, or the stream has no history. What a flight found
		// that began before this caller arrived may be older than its arrival.
	}
	return v.readAlone(ctx, hash, needed)
}

// share joins or starts the flight for a hash. The flight is no one's: it goes
// on when the caller that started it leaves.
func (v *Validator) share(ctx context.Context, hash apikey.Hash) (filled, error) {
	detached := context.WithoutCancel(ctx)
	result := v.fills.DoChan(string(hash[:]), func() (any, error) { return v.fill(detached, hash) })
	select {
	case <-ctx.Done():
		return filled{}, ctx.Err()
	case r := <-result:
		if r.Err != nil {
			return filled{}, r.Err
		}
		return r.Val.(filled), nil
	}
}

// fill reads by hash and stores what it finds. The ticket is taken before the
// read: keycache/DESIGN.md has the order and why.
func (v *Validator) fill(ctx context.Context, hash apikey.Hash) (filled, error) {
	ticket := v.config.Cache.Begin()
	finding, err := v.within(ctx, kindShared, func(ctx context.Context) (keystore.Document, bool, error) {
		return v.config.Store.FindByHash(ctx, hash, ticket.Floor())
	})
	if err != nil {
		return filled{}, err
	}
	v.config.Cache.Store(ticket, hash, finding)
	return filled{ticket: ticket, finding: finding}, nil
}

// question is what callers must have in common to share a read that is not
// stored: the hash, and the revision that it must contain.
type question struct {
	hash   apikey.Hash
	needed clustertime.Time
}

// seen is what a read that is not stored has found, and how old it is: the read
// contains whatever had been acknowledged by fresh.AsOf, and had been applied.
type seen struct {
	fresh   *keycache.Freshness
	finding keycache.Finding
}

// readAlone answers with a read that began after this caller arrived, and that
// is no older than needed. Nothing is stored.
func (v *Validator) readAlone(ctx context.Context, hash apikey.Hash, needed clustertime.Time) (keycache.Answer, apikey.Source, error) {
	if _, err := v.rejectAhead(ctx, needed, v.known()); err != nil {
		return keycache.Answer{}, apikey.SourceNone, err
	}
	s, err := v.alone.do(ctx, question{hash, needed})
	if err == nil {
		var answer keycache.Answer
		answer, err = v.answer(s)
		// The read was not older than needed, whatever the stream has processed.
		answer.Revision = max(answer.Revision, needed)
		if err == nil {
			return answer, apikey.SourceDirect, nil
		}
	}
	switch {
	case errors.Is(err, errStale):
		return v.readLinearizable(ctx, hash, needed)
	case errors.Is(err, keystore.ErrRevisionAhead) && v.isAhead(ctx, needed):
		err = errAhead
	}
	return keycache.Answer{}, apikey.SourceNone, err
}

// runAlone is a flight of readAlone. The freshness is loaded before the ticket:
// the read contains what had been applied by then, so the answer is no older
// than that.
func (v *Validator) runAlone(q question) (seen, error) {
	fresh := v.config.Cache.Freshness()
	if _, ok := v.config.Cache.AnswerAsOf(fresh, v.config.Now()); !ok {
		return seen{}, errStale // it would be before it began
	}
	ticket := v.config.Cache.Begin()
	kind := kindAlone
	if guard.RevisionSlots && q.needed > max(fresh.Processed, ticket.Floor(), v.acknowledgedAt()) {
		kind = kindUnreached
	}
	finding, err := v.within(context.Background(), kind, func(ctx context.Context) (keystore.Document, bool, error) {
		return v.insist(ctx, guard.InspectAtRead && !ticket.Trusted(), func() (keystore.Document, bool, error) {
			return v.config.Store.FindByHash(ctx, q.hash, max(ticket.Floor(), q.needed))
		})
	})
	return seen{fresh: fresh, finding: finding}, err
}

// known is a cluster time that the server has been at: of a change that the stream
// has delivered, or of its beginning. A read after it is as quick as a fill.
func (v *Validator) known() clustertime.Time {
	return max(v.config.Cache.Begin().Floor(), v.processed())
}

// processed is the time up to which the stream has delivered all changes. Zero:
// not known.
func (v *Validator) processed() clustertime.Time {
	if fresh := v.config.Cache.Freshness(); fresh != nil {
		return fresh.Processed
	}
	return 0
}

// insist reads, and does not take nothing for an answer while no stream tells what
// becomes of the collection: it must be there. It may have come back since the
// read, as after a rename away and back, so that nothing is asked for once more.
// (One that goes away and comes back twice within the one call is not noticed.)
func (v *Validator) insist(ctx context.Context, suspicious bool, read func() (keystore.Document, bool, error)) (keystore.Document, bool, error) {
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

// answer is what a read that is not stored says now, if it is not too old.
func (v *Validator) answer(s seen) (keycache.Answer, error) {
	answer, ok := v.config.Cache.AnswerAsOf(s.fresh, v.config.Now())
	if !ok {
		return keycache.Answer{}, errStale
	}
	answer.Found, answer.ID, answer.Record = s.finding.Found, s.finding.ID, s.finding.Record
	return answer, nil
}

// within does one read within the cap and the deadline.
func (v *Validator) within(ctx context.Context, kind readKind, read func(context.Context) (keystore.Document, bool, error)) (keycache.Finding, error) {
	if err := v.acquire(kind); err != nil {
		return keycache.Finding{}, err
	}
	defer v.release(kind)
	ctx, cancel := context.WithTimeout(ctx, v.config.ReadTimeout)
	defer cancel()
	document, found, err := read(ctx)
	v.metrics.fill(kind, found, err)
	if err != nil {
		return keycache.Finding{}, err
	}
	return findingOf(document, found), nil
}

// acquire takes the place of a read, or says that there is none. Nobody waits for
// one.
func (v *Validator) acquire(kind readKind) error {
	if kind == kindUnreached && !v.unreached.TryAcquire(1) {
		return errUnreached
	}
	if v.reads.TryAcquire(1) {
		return nil
	}
	if kind == kindUnreached {
		v.unreached.Release(1)
	}
	return errBusy
}

func (v *Validator) release(kind readKind) {
	v.reads.Release(1)
	if kind == kindUnreached {
		v.unreached.Release(1)
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
