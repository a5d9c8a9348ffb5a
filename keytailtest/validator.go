package keytailtest

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/outward"
	"github.com/keytail/keytail/internal/revocation"
)

// MaxStale is the age past which nothing is answered, keytail's default.
const MaxStale = 15 * time.Second

// T is what a Validator needs of a test: a *testing.T, a *testing.B, or what
// another test framework has in its place.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	Cleanup(func())
}

// Validator is an auth.Validator that holds its keys in memory.
type Validator struct {
	t       T
	watches *revocation.Watches

	mutex sync.Mutex
	// keys maps the hash of a text to its record. A record is never changed, since
	// verdicts share it: it is replaced.
	keys map[apikey.Hash]*apikey.Record
	// made is how many keys there have been.
	made int
	// revision is that of the last change.
	revision clustertime.Time
	outage   bool
	age      time.Duration
	asked    []Question
}

var _ auth.Validator = (*Validator)(nil)

// Question is something that a Validator was asked. It has nothing of the key's
// text.
type Question struct {
	// KeyID is the key that was sent. Empty: no key has such a text.
	KeyID string
	// Request is what was to be done with it.
	Request auth.Request
	// Code is the answer.
	Code auth.Code
}

// New makes a Validator without keys, which stops by itself when the test ends.
func New(t T) *Validator {
	v := &Validator{
		t:       t,
		watches: revocation.New(revocation.Config{}),
		keys:    map[apikey.Hash]*apikey.Record{},
		// The cluster time of now, as a database would give it.
		revision: clustertime.New(uint32(time.Now().Unix()), 1),
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = v.watches.Run(ctx) // nil, always
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return v
}

// Validate judges a key, as auth.Validator says.
func (v *Validator) Validate(_ context.Context, key string, request auth.Request) (auth.Verdict, error) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	record, judged := v.judgeLocked(key, outward.Request(&request))
	verdict, err := outward.Verdict(&judged)
	question := Question{Request: request, Code: verdict.Code}
	question.Request.Scopes = slices.Clone(request.Scopes)
	if record != nil {
		question.KeyID = record.KeyID
	}
	v.asked = append(v.asked, question)
	return verdict, err
}

// judgeLocked is the way of internal/validator, with what is here in place of the
// cache and the database. The record is that of the text, even if the verdict has
// none. The caller holds the lock.
func (v *Validator) judgeLocked(text string, request apikey.Request) (*apikey.Record, apikey.Verdict) {
	hash, err := apikey.Parse(apikey.DefaultPrefix, text)
	switch {
	case errors.Is(err, apikey.ErrMissing):
		return nil, apikey.Verdict{Code: apikey.Missing}
	case err != nil:
		return nil, apikey.Verdict{Code: apikey.Malformed}
	}
	record := v.keys[hash]
	switch {
	case v.lostLocked():
		return record, apikey.Verdict{Code: apikey.Unavailable}
	case clustertime.Time(request.MinRevision) > v.revision:
		return record, apikey.Verdict{Code: apikey.Unavailable, Problem: apikey.RevisionAhead}
	}
	now := time.Now()
	verdict := apikey.Verdict{
		Code:      apikey.NotFound,
		Source:    apikey.SourceCache,
		Record:    record,
		AsOf:      now.Add(-v.age),
		Staleness: v.age,
		Revision:  uint64(v.revision),
	}
	if record != nil {
		verdict.Code = apikey.Decide(record, &request, now)
	}
	return record, verdict
}

// lostLocked reports whether the truth is lost. The caller holds the lock.
func (v *Validator) lostLocked() bool { return v.outage || v.age > MaxStale }

// Outage makes the truth unknown, as when the database cannot be reached for
// longer than MaxStale: every key that could be one is auth.Unavailable, and
// Principals with CancelOnOutage are done with ErrStalenessExceeded.
func (v *Validator) Outage() { v.set(func() { v.outage = true }) }

// Recover ends an Outage, and what Age has set.
func (v *Validator) Recover() { v.set(func() { v.outage, v.age = false, 0 }) }

// Age makes each answer from now on as old as this: its Staleness. Past MaxStale
// it is an outage. Changes are seen at once all the same.
func (v *Validator) Age(staleness time.Duration) {
	v.set(func() { v.age = max(staleness, 0) })
}

func (v *Validator) set(change func()) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	change()
	// Under the lock, so that two calls are told in the order in which they were
	// made. A watch asks by a goroutine of its own.
	v.watches.Doubt(v.lostLocked())
}

// Asked is what was asked so far, in order. What a Principal that is watched asks
// after a change, by itself, is part of it.
func (v *Validator) Asked() []Question {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	return slices.Clone(v.asked)
}

// Authenticate is auth.Authenticate over v, as a keytail.Service has it.
func (v *Validator) Authenticate(options ...auth.Option) gin.HandlerFunc {
	return auth.Authenticate(v, options...)
}

// Middleware is auth.Middleware over v.
func (v *Validator) Middleware(options ...auth.Option) func(http.Handler) http.Handler {
	return auth.Middleware(v, options...)
}

// Watches is for package auth: what tells a Principal that its key has changed.
func (v *Validator) Watches() *revocation.Watches { return v.watches }
