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
	"github.com/keytail/keytail/internal/revocation"
)

// MaxStale is the maximum staleness of an answer, keytail's default.
const MaxStale = 15 * time.Second

// T is the part of testing.TB that a Validator needs: a *testing.T, a *testing.B, or
// the equivalent of another test framework.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	Cleanup(func())
}

// Validator is an auth.RevocationWatcher with its keys in memory.
type Validator struct {
	t       T
	watches *revocation.Watches

	mutex sync.Mutex
	// keys maps the hash of a key to its record. Verdicts share records, so a record is
	// replaced, never modified.
	keys map[apikey.Hash]*apikey.Record
	// created is the number of keys created so far.
	created int
	// revision is the revision of the last change.
	revision  clustertime.Time
	outage    bool
	staleness time.Duration
	// requireBinding: see RequireBinding.
	requireBinding bool
	validations    []Validation
}

var _ auth.RevocationWatcher = (*Validator)(nil)

// Validation is one call of Validate. It does not contain the text of the key.
type Validation struct {
	// KeyID is the key. Empty: there is no key with this text.
	KeyID string
	// Request is what the key was needed for.
	Request auth.Request
	// Code is the code of the verdict.
	Code auth.Code
}

// New returns a Validator without keys. It stops when the test ends.
func New(t T) *Validator {
	v := &Validator{
		t:       t,
		watches: revocation.New(revocation.Config{}),
		keys:    map[apikey.Hash]*apikey.Record{},
		// The cluster time of now, as a database would return it.
		revision: clustertime.New(uint32(time.Now().Unix()), 1),
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		_ = v.watches.Run(ctx) // always nil
	}()
	t.Cleanup(func() {
		stop()
		<-stopped
	})
	return v
}

// Validate implements auth.Validator.
func (v *Validator) Validate(_ context.Context, key string, request auth.Request) (auth.Verdict, error) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	record, verdict, err := v.validateLocked(key, &request)
	validation := Validation{Request: request, Code: verdict.Code}
	validation.Request.Scopes = slices.Clone(request.Scopes)
	if record != nil {
		validation.KeyID = record.KeyID
	}
	v.validations = append(v.validations, validation)
	return verdict, err
}

// validateLocked makes the steps of internal/validator, with v.keys in place of the
// cache and the database. It returns the record of the text even if the verdict has
// none. The caller holds the lock.
func (v *Validator) validateLocked(text string, request *auth.Request) (*apikey.Record, auth.Verdict, error) {
	hash, err := apikey.Parse(apikey.DefaultPrefix, text)
	switch {
	case errors.Is(err, apikey.ErrMissing):
		return nil, auth.Verdict{Code: auth.Missing}, nil
	case err != nil:
		return nil, auth.Verdict{Code: auth.Malformed}, nil
	}
	record := v.keys[hash]
	switch {
	case v.isStaleLocked():
		return record, auth.Verdict{Code: auth.Unavailable}, auth.ErrUnavailable
	case request.MinRevision > auth.Revision(v.revision):
		return record, auth.Verdict{Code: auth.Unavailable}, auth.ErrRevisionAhead
	}
	now := time.Now()
	verdict := auth.Verdict{
		Code:      auth.NotFound,
		Key:       (*auth.Key)(record),
		Source:    auth.SourceCache,
		AsOf:      now.Add(-v.staleness),
		Staleness: v.staleness,
		Revision:  auth.Revision(v.revision),
	}
	if record != nil {
		internal := apikey.Request{
			Scopes: request.Scopes, OrgID: request.OrgID, ProjectID: request.ProjectID, IP: request.IP,
			RequireOrg: request.RequireOrg || v.requireBinding, RequireProject: request.RequireProject || v.requireBinding,
		}
		code := apikey.Decide(record, &internal, now)
		verdict.Code, verdict.Reason = auth.Code(code.String()), apikey.ReasonFor(code, record, &internal).String()
	}
	return record, verdict, nil
}

// isStaleLocked reports whether no verdict is possible. The caller holds the lock.
func (v *Validator) isStaleLocked() bool { return v.outage || v.staleness > MaxStale }

// RequireBinding does what keytail.Config.RequireBinding does, and the daemon's
// --require-binding: a key that is bound to an organisation or a project is
// auth.Forbidden for later requests that do not name it.
func (v *Validator) RequireBinding() {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	v.requireBinding = true
}

// Outage does what happens when the database has been unreachable for longer than
// MaxStale: every well-formed key is auth.Unavailable, and a Principal with
// CancelOnOutage ends with ErrStalenessExceeded.
func (v *Validator) Outage() { v.set(func() { v.outage = true }) }

// Recover ends an Outage, and resets SetStaleness to zero.
func (v *Validator) Recover() { v.set(func() { v.outage, v.staleness = false, 0 }) }

// SetStaleness sets the Staleness of all later verdicts. More than MaxStale is an
// outage. Changes still take effect immediately.
func (v *Validator) SetStaleness(staleness time.Duration) {
	v.set(func() { v.staleness = max(staleness, 0) })
}

func (v *Validator) set(change func()) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	change()
	// Under the lock, so that two calls take effect in their order. It does not block:
	// another goroutine makes the rechecks.
	v.watches.SetStale(v.isStaleLocked())
}

// Validations returns all calls of Validate so far, in their order. They include the
// rechecks of a watched Principal after a change.
func (v *Validator) Validations() []Validation {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	return slices.Clone(v.validations)
}

// Authenticate is auth.Authenticate with v.
func (v *Validator) Authenticate(opts ...auth.Option) gin.HandlerFunc {
	return auth.Authenticate(v, opts...)
}

// Middleware is auth.Middleware with v.
func (v *Validator) Middleware(opts ...auth.Option) func(http.Handler) http.Handler {
	return auth.Middleware(v, opts...)
}

// Mark implements auth.RevocationWatcher.
func (v *Validator) Mark() uint64 { return v.watches.Mark() }

// Watch implements auth.RevocationWatcher.
func (v *Validator) Watch(request auth.WatchRequest) auth.Watch {
	return v.watches.Add(revocation.Entry(request))
}
