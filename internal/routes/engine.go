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
)

// UseReleaseMode silences what Gin prints about itself at start. The mode is one
// atomic variable of the whole process, so it is for a program's main (or
// TestMain) and not for NewPublic: a service that embeds keytail has its own. A
// mode asked for by the environment (GIN_MODE) is left alone.
func UseReleaseMode() {
	if os.Getenv(gin.EnvGinMode) == "" {
		gin.SetMode(gin.ReleaseMode)
	}
}

// newEngine makes an engine that matches paths raw and answers everything with
// our own headers and problems. sources are where a key may be, which must not
// come back as a request id.
func newEngine(logger *zap.Logger, sources []forwardauth.KeySource) *gin.Engine {
	engine := gin.New()
	// /v1/%61uth and /v1/auth/ are not /v1/auth: a proxy in front may have
	// matched its own rules on the spelling it saw.
	engine.UseEscapedPath = true
	engine.RedirectTrailingSlash = false
	engine.RedirectFixedPath = false
	engine.RemoveExtraSlash = false
	engine.HandleMethodNotAllowed = true
	// clientIP does this, with rules of its own.
	engine.ForwardedByClientIP = false

	engine.Use(commonHeaders(sources), accessLog(logger), recovery(logger))
	engine.NoRoute(func(c *gin.Context) {
		writeProblem(c, api.CodeNoSuchPath, "there is nothing at this path")
	})
	engine.NoMethod(methodNotAllowed)
	return engine
}

// readable serves a path that is read: GET, and HEAD, whose body net/http drops.
func readable(engine *gin.Engine, path string, handler gin.HandlerFunc) {
	engine.GET(path, handler)
	engine.HEAD(path, handler)
}

// methodNotAllowed answers a known path with another method. Gin has set Allow.
func methodNotAllowed(c *gin.Context) {
	writeProblem(c, api.CodeMethodNotAllowed, "this path has other methods, see the Allow header")
}

// noStore is only read: of capacity one, an Add moves it away.
var noStore = []string{"no-store"}

// commonHeaders sets what every answer has. No answer may be stored by anyone:
// the next one may differ.
func commonHeaders(sources []forwardauth.KeySource) gin.HandlerFunc {
	return func(c *gin.Context) {
		header := c.Writer.Header()
		// Written directly: Set would make an object of each, and this is on the way of
		// every request.
		header["Cache-Control"] = noStore
		header[forwardauth.HeaderRequestID] = []string{forwardauth.RequestID(c.Request, sources)}
	}
}

// accessLog writes one line for each request at debug level. The path that was
// asked for is not in it, only the route that matched: a client may have put
// its key anywhere.
func accessLog(logger *zap.Logger) gin.HandlerFunc {
	return func(c *gin.Context) {
		c.Next()
		if entry := logger.Check(zap.DebugLevel, "request answered"); entry != nil {
			entry.Write(
				zap.String("route", c.FullPath()),
				zap.Int("status", c.Writer.Status()),
				zap.String("request_id", c.Writer.Header().Get(forwardauth.HeaderRequestID)),
			)
		}
	}
}

// recovery turns a panic into a 500. Gin's own dumps the request's headers.
func recovery(logger *zap.Logger) gin.HandlerFunc {
	return func(c *gin.Context) {
		defer func() {
			value := recover()
			if value == nil {
				return
			}
			if value == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so, too
				panic(value)
			}
			logger.Error("a handler panicked, which is a bug in keytail",
				zap.String("route", c.FullPath()), zap.String("panic", describePanic(value)),
				zap.ByteString("stack", debug.Stack()))
			if c.Writer.Written() {
				// Half an answer must not look like a whole one.
				panic(http.ErrAbortHandler)
			}
			writeProblem(c, api.CodeInternal, "keytail has a bug here, its log says more")
		}()
		c.Next()
	}
}

// describePanic names a panic without quoting what might come from a request:
// the runtime's own errors hold types and numbers only, other values may hold
// anything.
func describePanic(value any) string {
	if err, ok := value.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("a value of type %T", value)
}
