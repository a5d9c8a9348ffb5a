package forwardauth

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
)

// Validator validates keys. Many goroutines call its methods concurrently.
type Validator interface {
	// Validate validates the key with this text for this request; "" is Missing.
	// req is valid only during the call. The verdict's record is shared: read
	// only. Its revision is at or after the request's MinRevision, or it is
	// Unavailable, with a Problem if that is a mistake of the caller.
	Validate(ctx context.Context, keyText string, req *apikey.Request) apikey.Verdict
	// Refuse makes a verdict without a lookup, for a text that cannot be a key.
	// It is counted like the others.
	Refuse(code apikey.Code) apikey.Verdict
}

// Config of an Authority.
type Config struct {
	// Validator is required.
	Validator Validator
	// KeySources are where to look for the key. Empty: DefaultKeySources.
	KeySources []KeySource
	// TrustedProxies are the peers whose X-Forwarded-For is used. Empty: the peer
	// is the client.
	TrustedProxies []netip.Prefix
	// Policies are named requirements. Nil: none.
	Policies map[string]Policy
	// Realm is shown in WWW-Authenticate: printable ASCII. Empty: DefaultRealm.
	Realm string
	// Identity says which identity headers a 200 has. Zero: those that have a value.
	Identity Identity
	// RemovesAbsent: the transport tells the proxy to remove the client's copies of the
	// identity headers that a 200 leaves out, as gRPC does. False: a header of the answer
	// tells Envoy, and other proxies get empty headers where they need them.
	RemovesAbsent bool
	// Decisions takes each decision, under the name Operation. Nil: they are not recorded.
	Decisions DecisionLog
	Operation string
	// TraceID is the id of the trace that keytail records a request in, for decisions. Empty, or
	// nil: the trace id of the request's own traceparent.
	TraceID func(context.Context) string
}

// Authority decides whether requests may pass. It does not change after New, so
// it is safe for concurrent use.
type Authority struct {
	validator Validator
	sources   []KeySource
	proxies   []netip.Prefix
	policies  map[string]apikey.Request // what each policy's requests need; only read
	challenge Challenge
	identity  Identity
	decisions DecisionLog
	operation string
	traceID   func(context.Context) string
	cache     questionCache

	removesAbsent bool
}

// New makes an Authority. The error describes what is wrong in the
// configuration.
func New(config Config) (*Authority, error) {
	if config.Validator == nil {
		return nil, errors.New("forward-auth: Config.Validator is required")
	}
	challenge, realmErr := NewChallenge(config.Realm)
	policies, policiesErr := requirementsOf(config.Policies)
	if err := errors.Join(realmErr, policiesErr); err != nil {
		return nil, err
	}
	a := &Authority{
		validator: config.Validator, sources: config.KeySources, proxies: config.TrustedProxies,
		policies: policies, challenge: challenge, identity: config.Identity, removesAbsent: config.RemovesAbsent,
		decisions: config.Decisions, operation: config.Operation, traceID: config.TraceID,
	}
	if len(a.sources) == 0 {
		a.sources = DefaultKeySources()
	}
	return a, nil
}

// Sources are where keys are looked for: read only.
func (a *Authority) Sources() []KeySource { return a.sources }

// Challenge is the value of WWW-Authenticate.
func (a *Authority) Challenge() Challenge { return a.challenge }

// Question has the requirements of a request.
type Question struct {
	need  apikey.Request
	query url.Values // where query:NAME looks; nil where the query is the client's
}

// In is the question with the client's own query as the place for query:NAME, for
// callers that receive the query separately from the requirements. The
// requirements stay.
func (q Question) In(query url.Values) Question {
	q.query = query
	return q
}

// ByQuery reads the requirements from a query, which the proxy's configuration
// sets. It reads the query completely, or fails.
func (a *Authority) ByQuery(raw string) (Question, *QuestionError) {
	if cached, ok := a.cache.get(raw); ok {
		return cached, nil
	}
	// A clone, because a substring would keep the whole request in memory.
	raw = strings.Clone(raw)
	query, err := parseQuery(raw)
	if err != nil {
		return Question{}, err
	}
	need, err := parseRequirements(query, a.sources)
	if err != nil {
		return Question{}, err
	}
	q := Question{need, query}
	if !ReadQuery(a.sources) {
		a.cache.put(raw, q)
	}
	return q, nil
}

// ByPolicy has the requirements of the policy with this name. No query is a key
// source there.
func (a *Authority) ByPolicy(name string) (Question, *QuestionError) {
	need, found := a.policies[name]
	if !found {
		return Question{}, &QuestionError{api.CodeNoSuchPolicy, "keytail's configuration has no policy with this name"}
	}
	return Question{need: need}, nil
}

// SetUnavailable sets the headers of a response that no other code finishes:
// UNAVAILABLE.
func SetUnavailable(header http.Header) {
	header[HeaderResult], header[HeaderStaleness] = unavailable, empty
}

// Do not modify these. Their capacity is one, so that Add copies them.
var unavailable, empty = []string{apikey.Unavailable.String()}, []string{""}

// Refuse answers a question about r that cannot be read, like Answer.
func (a *Authority) Refuse(r *http.Request, mistake *QuestionError, header http.Header) (status int, body []byte) {
	a.decide(r, header, &apikey.Verdict{}, mistake.Code)
	return mistake.respond(header)
}

// Answer validates the key of r, from its headers or the question's query, and
// sets the headers of the response, which has its X-Request-Id already. Status 200
// allows the request and has no body; every other status refuses it. Of r it uses
// Header, RemoteAddr and the context.
func (a *Authority) Answer(r *http.Request, q *Question, header http.Header) (status int, body []byte) {
	verdict := a.validate(r, q)
	a.decide(r, header, &verdict, "")
	values := &values{}
	values.set(header, HeaderResult, verdict.Code.String())
	if !verdict.AsOf.IsZero() {
		values.set(header, HeaderStaleness, stalenessText(verdict.Staleness))
	}
	if verdict.Code == apikey.Valid {
		a.setIdentity(values, header, r.Header, verdict.Record)
		return http.StatusOK, nil
	}
	return a.refuse(verdict.Code, q.need.Scopes, header)
}

// validate validates the key of a request.
func (a *Authority) validate(r *http.Request, q *Question) apikey.Verdict {
	need := q.need
	need.IP = ClientIP(r, a.proxies)
	text, ambiguous := FindKey(a.sources, r, q.query)
	if ambiguous {
		return Trusted(a.validator.Refuse(apikey.Malformed))
	}
	return Trusted(a.validator.Validate(r.Context(), text, &need))
}

func (a *Authority) refuse(code apikey.Code, needed []string, header http.Header) (status int, body []byte) {
	if challenge := a.challenge.For(code, needed); challenge != "" {
		header.Set(HeaderChallenge, challenge)
	}
	status = Status(code)
	if status == http.StatusServiceUnavailable {
		header.Set(HeaderRetryAfter, "1")
	}
	header.Set("Content-Type", api.ProblemType)
	return status, Body(status, code.String(), Detail(code))
}

// respond is the response to a question that cannot be read.
func (m *QuestionError) respond(header http.Header) (status int, body []byte) {
	header.Set(HeaderResult, string(m.Code))
	header.Set("Content-Type", api.ProblemType)
	return m.Code.Status(), Body(m.Code.Status(), string(m.Code), m.Detail)
}

// Trusted returns v, or Unavailable instead of a verdict that no Validator may
// return: a number that is no code, or VALID without a record.
func Trusted(v apikey.Verdict) apikey.Verdict {
	if int(v.Code) >= apikey.CodeCount || v.Code == apikey.Valid && v.Record == nil {
		return apikey.Verdict{}
	}
	return v
}
