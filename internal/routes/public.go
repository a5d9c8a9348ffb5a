package routes

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/forwardauth"
)

// Validator judges keys. Its methods are called from many goroutines at once.
type Validator = forwardauth.Validator

// PublicConfig is what the public listener needs.
type PublicConfig struct {
	// Config is what forward-auth needs, and whose Validator verify asks too.
	forwardauth.Config
	// Callers may use verify, sync and events. Nil: whoever reaches it may use
	// verify, and the other two are off.
	Callers Tokens
	// Syncer and Events are behind sync and events. Nil: that one is off.
	Syncer Syncer
	Events Events
	// Logger gets a line for each request at debug level, and panics. Nil: none.
	Logger *zap.Logger
}

// public holds what its handlers share; nothing of it changes after NewPublic.
type public struct {
	validator Validator
	authority *forwardauth.Authority
	callers   Tokens
	logger    *zap.Logger
	// alone: no proxy is trusted. warned: that was said.
	alone  bool
	warned atomic.Bool
}

// NewPublic makes the handler of the public listener: verify, forward-auth, sync,
// events and livez. The error says what is wrong in the configuration.
func NewPublic(config PublicConfig) (http.Handler, error) {
	authority, err := forwardauth.New(config.Config)
	if err != nil {
		return nil, fmt.Errorf("routes: the public listener: %w", err)
	}
	p := &public{validator: config.Validator, authority: authority, callers: config.Callers, logger: named(config.Logger), alone: len(config.TrustedProxies) == 0}
	engine := newEngine(p.logger, withBearer(authority.Sources()))
	engine.POST(api.PathVerify, p.wantCaller, p.verify)
	engine.Any(api.PathAuth, p.auth)
	engine.Any(api.PathPolicy+"*any", p.authByPolicy)
	engine.NoMethod(p.otherMethod)
	readable(engine, api.PathLive, live)
	readable(engine, api.PathOpenAPI, document)
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
	case path == api.PathAuth:
		c.Writer.Header().Del("Allow")
		p.auth(c)
	case strings.HasPrefix(path, api.PathPolicy):
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

// named gives nil a place to log to.
func named(logger *zap.Logger) *zap.Logger {
	if logger == nil {
		return zap.NewNop()
	}
	return logger.Named("routes")
}
