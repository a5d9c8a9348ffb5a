package validator

import (
	"context"
	"errors"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
)

// Why a truth is not to be had. The caller's answer is Unavailable; the reason
// is for the metrics.
var (
	errBusy  = errors.New("too many reads of the database are under way")
	errStale = errors.New("the change stream has not been heard of for longer than max_stale")
)

// flight is what one shared read found, with the ticket that vouches for it.
type flight struct {
	ticket  keycache.Ticket
	finding keycache.Finding
}

// read asks the database. Callers that miss on the same hash at once share one
// read, whose result is stored; one that cannot be vouched for to this caller
// is followed by a read of its own.
func (v *Validator) read(ctx context.Context, hash apikey.Hash) (keycache.Answer, apikey.Source, error) {
	if !v.config.Cache.Trusted() {
		// Nothing that is read now could be vouched for.
		answer, err := v.readAlone(ctx, hash)
		return answer, apikey.SourceDirect, err
	}
	shared, err := v.share(ctx, hash)
	if err != nil {
		return keycache.Answer{}, apikey.SourceNone, err
	}
	if answer, ok := v.config.Cache.Vouch(shared.ticket, hash, shared.finding); ok {
		return answer, apikey.SourceFill, nil
	}
	// It changed meanwhile, or the stream has no history. What a flight found
	// that began before this caller arrived may be older than its arrival.
	answer, err := v.readAlone(ctx, hash)
	return answer, apikey.SourceDirect, err
}

// share joins or starts the flight for a hash. The flight is no one's: it goes
// on when the caller that started it leaves.
func (v *Validator) share(ctx context.Context, hash apikey.Hash) (flight, error) {
	detached := context.WithoutCancel(ctx)
	result := v.flights.DoChan(string(hash[:]), func() (any, error) { return v.fill(detached, hash) })
	select {
	case <-ctx.Done():
		return flight{}, ctx.Err()
	case r := <-result:
		if r.Err != nil {
			return flight{}, r.Err
		}
		return r.Val.(flight), nil
	}
}

// fill reads by hash and stores what it finds. The ticket is taken before the
// read: keycache/DESIGN.md has the order and why.
func (v *Validator) fill(ctx context.Context, hash apikey.Hash) (flight, error) {
	ticket := v.config.Cache.Begin()
	finding, err := v.find(ctx, kindShared, hash, ticket)
	if err != nil {
		return flight{}, err
	}
	v.config.Cache.Store(ticket, hash, finding)
	return flight{ticket: ticket, finding: finding}, nil
}

// readAlone reads for one caller, and stores nothing. The freshness is loaded
// before the ticket: the read contains what had been applied by then, so the
// answer is no older than that.
func (v *Validator) readAlone(ctx context.Context, hash apikey.Hash) (keycache.Answer, error) {
	fresh := v.config.Cache.Freshness()
	if _, ok := v.config.Cache.Age(fresh, v.config.Now()); !ok {
		// The read would be stale before it began. The next issue asks the
		// database with a linearizable read here.
		return keycache.Answer{}, errStale
	}
	ticket := v.config.Cache.Begin()
	finding, err := v.find(ctx, kindAlone, hash, ticket)
	if err != nil {
		return keycache.Answer{}, err
	}
	if !finding.Found && !ticket.Trusted() {
		if err := v.inspect(ctx); err != nil {
			return keycache.Answer{}, err
		}
	}
	answer, ok := v.config.Cache.Age(fresh, v.config.Now())
	if !ok {
		return keycache.Answer{}, errStale
	}
	answer.Found, answer.Record = finding.Found, finding.Record
	return answer, nil
}

// inspect keeps a collection that has vanished from being read as "no such
// key". While the stream has its history a drop is an event, and ends it.
func (v *Validator) inspect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, v.config.ReadTimeout)
	defer cancel()
	return v.config.Store.Inspect(ctx)
}

// find is one read within the cap and the deadline.
func (v *Validator) find(ctx context.Context, kind readKind, hash apikey.Hash, ticket keycache.Ticket) (keycache.Finding, error) {
	if !v.reads.TryAcquire(1) {
		return keycache.Finding{}, errBusy
	}
	defer v.reads.Release(1)
	ctx, cancel := context.WithTimeout(ctx, v.config.ReadTimeout)
	defer cancel()
	document, found, err := v.config.Store.FindByHash(ctx, hash, ticket.Floor())
	v.metrics.fill(kind, found, err)
	if err != nil {
		return keycache.Finding{}, err
	}
	return findingOf(document, found), nil
}

func findingOf(document keystore.Document, found bool) keycache.Finding {
	if !found {
		return keycache.Finding{}
	}
	return keycache.Finding{Found: true, ID: document.ID, Record: &document.Record}
}
