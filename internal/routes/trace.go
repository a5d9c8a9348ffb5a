package routes

import (
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/attribute"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/serverspan"
)

// traces begins the spans of requests. Nil: tracing is off.
type traces struct {
	tracer *serverspan.Tracer
	// sources are the places whose content must not become part of a trace.
	sources []forwardauth.KeySource
	// trusted: requests get here only with a token that is known.
	trusted bool
}

// newTraces is nil without a tracer.
func newTraces(tracer *serverspan.Tracer, sources []forwardauth.KeySource, trusted bool) *traces {
	if tracer == nil {
		return nil
	}
	return &traces{tracer, sources, trusted}
}

// before adds the middleware before handlers, if tracing is on.
func (t *traces) before(handlers ...gin.HandlerFunc) []gin.HandlerFunc {
	if t == nil {
		return handlers
	}
	return append([]gin.HandlerFunc{t.trace}, handlers...)
}

// after adds the middleware after the checks of tokens, if tracing is on: a request that
// they refuse has no span.
func (t *traces) after(checks ...gin.HandlerFunc) []gin.HandlerFunc {
	if t == nil {
		return checks
	}
	return append(checks, t.trace)
}

func (t *traces) trace(c *gin.Context) {
	if !isTraced(requestRoute(c)) {
		return
	}
	t.run(c, time.Time{}, "", c.Next)
}

// isTraced: the operations of the API are traced, and neither pages nor streams, whose
// length says nothing, nor what is called every few seconds to see whether keytail lives.
func isTraced(path string) bool {
	return strings.HasPrefix(path, "/v1/") && path != api.PathEvents
}

// run calls handle with the span of the request, which ends with it. key is that of the
// body, if there is one. A zero began is now.
func (t *traces) run(c *gin.Context, began time.Time, key string, handle func()) {
	r, route := c.Request, routeName(requestRoute(c))
	ctx, span := t.tracer.Start(r.Context(), &serverspan.Request{
		Name: serverspan.HTTPName(r.Method, route), Traceparent: t.traceparent(r, key),
		Peer: forwardauth.ClientIP(r, nil), Trusted: t.trusted, Began: began,
		Attributes: func() []attribute.KeyValue { return serverspan.HTTPAttributes(r, route) },
	})
	c.Request = r.WithContext(ctx)
	status := http.StatusInternalServerError // unless the handler returns: it has panicked
	defer func() {
		if span.IsRecording() {
			span.SetAttributes(serverspan.HTTPStatus(status)...)
		}
		serverspan.End(span, status)
	}()
	handle()
	status = c.Writer.Status()
}

// traceparent is that of a request, unless it contains a key, or could contain the one
// in a body that is not read yet.
func (t *traces) traceparent(r *http.Request, key string) string {
	if r.URL.Path == api.PathRevokeLeaked {
		return ""
	}
	header := forwardauth.Traceparent(r, t.sources)
	if key != "" && strings.Contains(header, key) {
		return ""
	}
	return header
}
