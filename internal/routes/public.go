package routes

import (
	"fmt"
	"net/http"
	"net/netip"
	"sync/atomic"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/instrument"
	"github.com/keytail/keytail/internal/lograte"
	"github.com/keytail/keytail/internal/serverspan"
)

// Validator validates keys. Many goroutines call its methods concurrently.
type Validator = forwardauth.Validator

// PublicConfig configures the public listener.
type PublicConfig struct {
	// Config is for forward-auth. Its Validator also serves verify.
	forwardauth.Config
	// AuthCallers are the networks whose peers may call forward-auth; all others are
	// refused. Nil: everyone who can connect may call it.
	AuthCallers []netip.Prefix
	// NoForwardAuth: forward-auth is not served.
	NoForwardAuth bool
	// Callers may use verify, sync and events. Nil: verify is open to everyone
	// who can connect, and the other two are not served.
	Callers Tokens
	// Syncer serves sync, and Events serves events. Nil: not served.
	Syncer Syncer
	Events Events
	// Tracer begins the spans of requests. Nil: tracing is off.
	Tracer *serverspan.Tracer
	// Requests measures the requests of all listeners. Nil: they are not measured.
	Requests *instrument.Requests
	// OpenPerToken bounds the streams of events, and the waits for a revision, that are
	// open with one token at a time, each on its own. Zero: no bound.
	OpenPerToken int
	// Logger gets panics, and a line for each request at debug level. Nil: none.
	Logger *zap.Logger
}

// public holds what its handlers share. It does not change after NewPublic.
type public struct {
	validator     Validator
	authority     *forwardauth.Authority
	callers       Tokens
	decisions     forwardauth.DecisionLog
	authCallers   []netip.Prefix
	logger        *zap.Logger
	trustsNoProxy bool
	// sources are the places of keys and of caller tokens.
	sources []forwardauth.KeySource
	// verifyTraces and authTraces are those of verify and of forward-auth.
	verifyTraces, authTraces *traces
	// strangers limits the log lines of refuseStranger.
	strangers lograte.Limiter
	// warned is set once warnUntrustedProxy has logged.
	warned atomic.Bool
}

// NewPublic makes the handler of the public listener: verify, forward-auth, sync,
// events and livez. The error describes what is wrong in the configuration.
func NewPublic(config PublicConfig) (http.Handler, error) {
	config.Operation, config.TraceID = forwardauth.OperationForwardAuth, serverspan.TraceID
	authority, err := forwardauth.New(config.Config)
	if err != nil {
		return nil, fmt.Errorf("routes: the public listener: %w", err)
	}
	p := &public{validator: config.Validator, authority: authority, callers: config.Callers, authCallers: config.AuthCallers, decisions: config.Decisions, logger: named(config.Logger), trustsNoProxy: len(config.TrustedProxies) == 0}
	p.sources = withBearer(authority.Sources())
	p.verifyTraces = newTraces(config.Tracer, p.sources, config.Callers != nil)
	p.authTraces = newTraces(config.Tracer, p.sources, false)
	m := &meter{requests: config.Requests}
	engine := newEngine(p.logger, p.sources, m)
	engine.POST(api.PathVerify, p.requireCaller, p.verify)
	if !config.NoForwardAuth {
		engine.Any(api.PathAuth, p.authTraces.before(p.auth)...)
		engine.Any(pathPolicyAny, p.authTraces.before(p.authByPolicy)...)
		engine.NoMethod(p.authTraces.before(p.otherMethod)...)
	}
	readable(engine, api.PathLive, live)
	readable(engine, api.PathOpenAPI, document)
	if config.Callers != nil {
		serveSync(engine, config.Syncer, config.OpenPerToken, p.verifyTraces.after(p.requireNamedCaller)...)
		serveEvents(engine, config.Events, config.OpenPerToken, p.requireNamedCaller)
	}
	m.prepare(engine)
	return engine, nil
}

// otherMethod routes methods that Gin's Any does not list (PROPFIND, PURGE and
// invented ones) to forward-auth, where the method never decides anything.
func (p *public) otherMethod(c *gin.Context) {
	switch anyMethodRoute(c.Request.URL.EscapedPath()) {
	case api.PathAuth:
		c.Writer.Header().Del("Allow")
		p.auth(c)
	case pathPolicyAny:
		c.Writer.Header().Del("Allow")
		p.authByPolicy(c)
	default:
		methodNotAllowed(c)
	}
}

// document serves the OpenAPI document.
func document(c *gin.Context) { c.Data(http.StatusOK, "application/yaml", api.OpenAPI) }

// live responds while the process runs. It does not depend on MongoDB.
func live(c *gin.Context) {
	c.Data(http.StatusOK, "text/plain; charset=utf-8", []byte("ok\n"))
}

// named is a logger for this package. Nil becomes one that discards everything.
func named(logger *zap.Logger) *zap.Logger {
	if logger == nil {
		return zap.NewNop()
	}
	return logger.Named("routes")
}
