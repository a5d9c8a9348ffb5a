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

// Validator judges keys. Its methods are called from many goroutines at once.
type Validator interface {
	// Validate judges the key with this text for this request; "" is Missing.
	// req is only valid during the call. The verdict's record is shared, so
	// handlers only read it. Its revision is not before the request's
	// MinRevision, or it is Unavailable, with a Problem if that is the caller's
	// mistake.
	Validate(ctx context.Context, keyText string, req *apikey.Request) apikey.Verdict
	// Refuse is a verdict without a look-up, for what is no key before anybody
	// looks, counted like the others.
	Refuse(code apikey.Code) apikey.Verdict
}

// Config of an Authority.
type Config struct {
	// Validator is required.
	Validator Validator
	// KeySources are where the key is looked for. Empty: DefaultKeySources.
	KeySources []KeySource
	// TrustedProxies may say in X-Forwarded-For whom they speak for. Empty: the
	// peer is the client.
	TrustedProxies []netip.Prefix
	// Policies are what requests need that are asked about by a name. Nil: there
	// are none.
	Policies map[string]Policy
	// Realm is shown in WWW-Authenticate: printable ASCII. Empty: DefaultRealm.
	Realm string
}

// Authority answers whether requests may pass. Nothing of it changes after New, so
// it is safe for concurrent use.
type Authority struct {
	validator Validator
	sources   []KeySource
	proxies   []netip.Prefix
	policies  map[string]apikey.Request // what each policy's requests need; only read
	challenge Challenge
	// known are questions that have been read before.
	known questions
}

// New makes an Authority. The error says what is wrong in the configuration.
func New(config Config) (*Authority, error) {
	if config.Validator == nil {
		return nil, errors.New("forward-auth needs a validator")
	}
	challenge, realmErr := NewChallenge(config.Realm)
	policies, policiesErr := requirementsOf(config.Policies)
	if err := errors.Join(realmErr, policiesErr); err != nil {
		return nil, err
	}
	a := &Authority{
		validator: config.Validator, sources: config.KeySources, proxies: config.TrustedProxies,
		policies: policies, challenge: challenge,
	}
	if len(a.sources) == 0 {
		a.sources = DefaultKeySources()
	}
	return a, nil
}

// Sources are where the key is looked for: only read them.
func (a *Authority) Sources() []KeySource { return a.sources }

// Challenge is what WWW-Authenticate says.
func (a *Authority) Challenge() Challenge { return a.challenge }

// Question is what a request needs.
type Question struct {
	need  apikey.Request
	query url.Values // where query:NAME looks; nil where the query is the client's
}

// In is the question with the client's own query as the place where query:NAME
// looks, for whoever gets that apart from what is needed. What is needed stays.
func (q Question) In(query url.Values) Question {
	q.query = query
	return q
}

// ByQuery reads what is needed from a query, which the proxy's own configuration
// sets. It is read in full or not at all.
func (a *Authority) ByQuery(raw string) (Question, *QuestionError) {
	if known, ok := a.known.get(raw); ok {
		return known, nil
	}
	// A clone, since what is remembered must not hold the whole request.
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
		a.known.put(raw, q)
	}
	return q, nil
}

// ByPolicy is what the policy of this name needs. No query is a key source there.
func (a *Authority) ByPolicy(name string) (Question, *QuestionError) {
	need, found := a.policies[name]
	if !found {
		return Question{}, &QuestionError{api.CodeNoSuchPolicy, "keytail's configuration has no policy of this name"}
	}
	return Question{need: need}, nil
}

// Unanswered sets what an answer says as long as nobody has finished it.
func Unanswered(header http.Header) {
	header[HeaderResult], header[HeaderStaleness] = unavailable, empty
}

// Nobody writes to these: of capacity one, an Add moves them away.
var unavailable, empty = []string{apikey.Unavailable.String()}, []string{""}

// Answer judges the key that r offers in its headers, or in the question's query,
// and sets the answer's headers. Status 200 allows the request and has no body;
// every other status refuses it. Of r its Header, RemoteAddr and context count.
func (a *Authority) Answer(r *http.Request, q *Question, header http.Header) (status int, body []byte) {
	verdict := a.judge(r, q)
	values := &values{}
	values.set(header, HeaderResult, verdict.Code.String())
	if !verdict.AsOf.IsZero() {
		values.set(header, HeaderStaleness, stalenessText(verdict.Staleness))
	}
	if verdict.Code == apikey.Valid {
		values.setIdentity(header, verdict.Record)
		return http.StatusOK, nil
	}
	return a.refuse(verdict.Code, q.need.Scopes, header)
}

// judge asks the validator about the key that a request offers.
func (a *Authority) judge(r *http.Request, q *Question) apikey.Verdict {
	need := q.need
	need.IP = ClientIP(r, a.proxies)
	text, two := FindKey(a.sources, r, q.query)
	if two {
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

// Refuse answers a question that cannot be read, as Answer does.
func (m *QuestionError) Refuse(header http.Header) (status int, body []byte) {
	header.Set(HeaderResult, string(m.Code))
	header.Set("Content-Type", api.ProblemType)
	return m.Code.Status(), Body(m.Code.Status(), string(m.Code), m.Detail)
}

// Trusted returns v, or an outage in place of a verdict that no Validator may
// give: a number that is no code, or a yes about nobody.
func Trusted(v apikey.Verdict) apikey.Verdict {
	if int(v.Code) >= apikey.CodeCount || v.Code == apikey.Valid && v.Record == nil {
		return apikey.Verdict{}
	}
	return v
}
