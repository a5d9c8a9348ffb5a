package routes

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/serverspan"
)

// UseReleaseMode silences what Gin prints at start. The mode is one atomic
// variable of the whole process, so this function is for main and TestMain, not
// for NewPublic: a service that embeds keytail has its own mode. A mode from the
// environment (GIN_MODE) is not changed.
func UseReleaseMode() {
	if os.Getenv(gin.EnvGinMode) == "" {
		gin.SetMode(gin.ReleaseMode)
	}
}

// newEngine makes an engine that matches paths unescaped and gives every response
// keytail's headers and problems. sources are the places of keys, whose content
// must not be returned as a request id. m needs the engine before its first request.
func newEngine(logger *zap.Logger, sources []forwardauth.KeySource, m *meter) *gin.Engine {
	engine := gin.New()
	// /v1/%61uth and /v1/auth/ are not /v1/auth: a proxy in front may have
	// applied its own rules to the spelling that it received.
	engine.UseEscapedPath = true
	engine.RedirectTrailingSlash = false
	engine.RedirectFixedPath = false
	engine.RemoveExtraSlash = false
	engine.HandleMethodNotAllowed = true
	// forwardauth.ClientIP does this, with other rules.
	engine.ForwardedByClientIP = false

	engine.Use(m.measure, commonHeaders(sources), accessLog(logger), recovery(logger))
	engine.NoRoute(func(c *gin.Context) {
		writeProblem(c, api.CodeNoSuchPath, "this path does not exist")
	})
	engine.NoMethod(methodNotAllowed)
	return engine
}

// readable serves GET, and HEAD, whose body net/http drops.
func readable(engine *gin.Engine, path string, handler gin.HandlerFunc) {
	engine.GET(path, handler)
	engine.HEAD(path, handler)
}

// methodNotAllowed responds to a method that a path does not have. Gin has set
// Allow.
func methodNotAllowed(c *gin.Context) {
	writeProblem(c, api.CodeMethodNotAllowed, "the path does not have this method, see the Allow header")
}

// headerSniffing keeps browsers from guessing the type of a body.
const headerSniffing = "X-Content-Type-Options"

// noStore and noSniff must not be modified. Their capacity is one, so that Add copies
// them.
var noStore, noSniff = []string{"no-store"}, []string{"nosniff"}

// commonHeaders sets the headers of every response. Nobody may store a response:
// the next one may differ. No browser may guess another type for what it contains
// (respondAuth removes that header from responses that contain nothing).
func commonHeaders(sources []forwardauth.KeySource) gin.HandlerFunc {
	return func(c *gin.Context) {
		header := c.Writer.Header()
		// Written directly: Set would allocate a slice for each, on every request.
		header["Cache-Control"] = noStore
		header[headerSniffing] = noSniff
		header[forwardauth.HeaderRequestID] = []string{forwardauth.RequestID(c.Request, sources)}
	}
}

// accessLog writes a line for each request at debug level, with the route that
// matched and not with the path: a client may have put its key anywhere.
func accessLog(logger *zap.Logger) gin.HandlerFunc {
	return func(c *gin.Context) {
		c.Next()
		if entry := logger.Check(zap.DebugLevel, "request answered"); entry != nil {
			entry.Write(
				zap.String("route", c.FullPath()),
				zap.Int("status", c.Writer.Status()),
				zap.String("request_id", c.Writer.Header().Get(forwardauth.HeaderRequestID)),
				serverspan.Field(c.Request.Context()),
			)
		}
	}
}

// recovery turns a panic into a 500. Gin's own recovery would log the request's
// headers.
func recovery(logger *zap.Logger) gin.HandlerFunc {
	return func(c *gin.Context) {
		defer func() {
			value := recover()
			if value == nil {
				return
			}
			if value == http.ErrAbortHandler { //nolint:errorlint // net/http compares it in this way, too
				panic(value)
			}
			logger.Error("a handler panicked, which is a bug in keytail",
				zap.String("route", c.FullPath()), zap.String("request_id", c.Writer.Header().Get(forwardauth.HeaderRequestID)),
				serverspan.Field(c.Request.Context()), zap.String("panic", describePanic(value)),
				zap.ByteString("stack", debug.Stack()))
			if c.Writer.Written() {
				// A partial response must not look complete.
				panic(http.ErrAbortHandler)
			}
			writeProblem(c, api.CodeInternal, "keytail failed because of a bug, see its log")
		}()
		c.Next()
	}
}

// describePanic describes a panic without quoting what may come from a request:
// the runtime's own errors contain types and numbers only, other values may
// contain anything.
func describePanic(value any) string {
	if err, ok := value.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("a value of type %T", value)
}
