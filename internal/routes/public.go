package routes

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
)

// The public listener's paths.
const (
	pathVerify = "/v1/keys/verify"
	pathAuth   = "/v1/auth"
	pathLive   = "/livez"

	pathOpenAPI = "/openapi.yaml"
)

// DefaultRealm is the realm in WWW-Authenticate when none is configured.
const DefaultRealm = "keytail"

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

// PublicConfig is what the public listener needs.
type PublicConfig struct {
	// Validator is required.
	Validator Validator
	// KeySources are where forward-auth looks for the key. Empty:
	// DefaultKeySources.
	KeySources []KeySource
	// TrustedProxies may say in X-Forwarded-For whom they speak for. Empty: the
	// peer is the client.
	TrustedProxies []netip.Prefix
	// Policies are what forward-auth asks for under /v1/auth/policy/{name}, by
	// name. Nil: there are none, and every name is 404.
	Policies map[string]Policy
	// Callers may use verify, sync and events. Nil: whoever reaches it may use
	// verify, and the other two are off.
	Callers Tokens
	// Realm is shown in WWW-Authenticate: printable ASCII. Empty: DefaultRealm.
	Realm string
	// Syncer and Events are behind sync and events. Nil: that one is off.
	Syncer Syncer
	Events Events
	// Logger gets a line for each request at debug level, and panics. Nil: none.
	Logger *zap.Logger
}

// public holds what its handlers share; nothing of it changes after NewPublic.
type public struct {
	validator Validator
	sources   []KeySource
	proxies   []netip.Prefix
	policies  map[string]apikey.Request // what each policy's requests need; only read
	callers   Tokens
	challenge string // `Bearer realm="..."`
}

// NewPublic makes the handler of the public listener: verify, forward-auth, sync,
// events and livez. The error says what is wrong in the configuration.
func NewPublic(config PublicConfig) (http.Handler, error) {
	if config.Validator == nil {
		return nil, errors.New("routes: the public listener needs a validator")
	}
	realm, err := quotedRealm(config.Realm)
	if err != nil {
		return nil, err
	}
	policies, err := requirementsOf(config.Policies)
	if err != nil {
		return nil, err
	}
	p := &public{
		policies: policies, callers: config.Callers,
		validator: config.Validator, sources: config.KeySources, proxies: config.TrustedProxies,
		challenge: "Bearer realm=" + realm,
	}
	if len(p.sources) == 0 {
		p.sources = DefaultKeySources()
	}
	engine := newEngine(named(config.Logger), withBearer(p.sources))
	engine.POST(pathVerify, p.wantCaller, p.verify)
	engine.Any(pathAuth, p.auth)
	engine.Any(pathPolicy+"*any", p.authByPolicy)
	engine.NoMethod(p.otherMethod)
	readable(engine, pathLive, live)
	readable(engine, pathOpenAPI, document)
	if config.Callers != nil {
		receipts(engine, config.Syncer, config.Events, p.wantCaller)
	}
	return engine, nil
}

// otherMethod sends methods that Gin's Any does not list (PROPFIND, PURGE and
// whatever a client makes up) to forward-auth too: there the method is never a
// reason for an answer.
func (p *public) otherMethod(c *gin.Context) {
	path := c.Request.URL.EscapedPath()
	switch {
	case path == pathAuth:
		c.Writer.Header().Del("Allow")
		p.auth(c)
	case strings.HasPrefix(path, pathPolicy):
		c.Writer.Header().Del("Allow")
		p.authByPolicy(c)
	default:
		methodNotAllowed(c)
	}
}

// document is what the listeners offer, for machines.
func document(c *gin.Context) { c.Data(http.StatusOK, "application/yaml", api.OpenAPI) }

// live says that the process answers, and nothing about MongoDB.
func live(c *gin.Context) {
	c.Data(http.StatusOK, "text/plain; charset=utf-8", []byte("ok\n"))
}

// quotedRealm makes a quoted-string of RFC 9110, section 5.6.4.
func quotedRealm(realm string) (string, error) {
	if realm == "" {
		realm = DefaultRealm
	}
	for i := range len(realm) {
		if realm[i] < 0x20 || realm[i] > 0x7e {
			return "", errors.New("routes: the realm may have printable ASCII characters only")
		}
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(realm) + `"`, nil
}

// named gives nil a place to log to.
func named(logger *zap.Logger) *zap.Logger {
	if logger == nil {
		return zap.NewNop()
	}
	return logger.Named("routes")
}
