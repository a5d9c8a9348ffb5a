package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/routes"
)

// handlerComparison compares the public listener with handlers that do less.
type handlerComparison struct {
	empty      http.Handler
	newRequest func(address, key string) (*http.Request, error)
	// goal is the smallest ratio of requests per second to the empty handler's, p99Goal the
	// largest ratio of p99 latencies.
	goal, p99Goal float64
	// sameGoal is goal for a handler that sends the same bytes as keytail. Zero: there is
	// no such handler.
	sameGoal float64
	// variants measures keytail with all identity headers, too, and on a Unix socket.
	variants bool
}

// side is one of the programs that are compared.
type side struct {
	name    string
	handler http.Handler
	// unix: it is served on a Unix socket, and not on TCP.
	unix bool
}

// The names of sides.
const (
	sideKeytail = "keytail"
	sideEmpty   = "empty handler"
	sideSame    = "handler that sends the same bytes"
	sideAll     = "keytail with all identity headers"
	sideUnix    = "keytail on a Unix socket"
)

// requestsRelativeTo is the name of a goal.
func requestsRelativeTo(side string) string {
	return "requests per second, relative to the " + side
}

// ginHandler returns a Gin engine with this route alone.
func ginHandler(method, path string, handler gin.HandlerFunc) http.Handler {
	engine := gin.New()
	engine.Handle(method, path, handler)
	return engine
}

// newPublicHandler returns the handler of keytail's public listener, with these keys in
// the cache.
func newPublicHandler(keys []string, config forwardauth.Config) (http.Handler, error) {
	v, err := newCachedValidator(keys, 64)
	if err != nil {
		return nil, err
	}
	config.Validator = v
	return routes.NewPublic(routes.PublicConfig{Config: config, Logger: zap.NewNop()})
}

// compareHandlers measures the sides of a comparison alternately.
func compareHandlers(ctx context.Context, e *env, r *result, a handlerComparison) error {
	keys, err := generateKeys(e.size(1000, 50))
	if err != nil {
		return err
	}
	sides, err := a.sides(keys)
	if err != nil {
		return err
	}
	m, err := a.measure(ctx, e, sides, keys)
	if err != nil {
		return err
	}
	m.compare(r, sideEmpty, a.goal, a.p99Goal)
	if a.sameGoal > 0 {
		m.compare(r, sideSame, a.sameGoal, a.p99Goal)
		r.note(fmt.Sprintf("The handler that sends the same bytes handles %s times the requests per second of the empty one. That is what the headers cost in any program: net/http keeps them in a map, copies it when the response begins, and sorts it to write it.",
			m.rates(sideSame, sideEmpty).text()))
	}
	if a.variants {
		r.note(fmt.Sprintf("Requests per second, relative to keytail on TCP with its default headers: with all identity headers (`--auth-headers`) %s, on a Unix socket (`--addr unix:PATH`) %s.",
			m.rates(sideAll, sideKeytail).text(), m.rates(sideUnix, sideKeytail).text()))
	}
	r.table(m.table())
	return nil
}

// sides are the handlers to compare.
func (a *handlerComparison) sides(keys []string) ([]side, error) {
	public, err := newPublicHandler(keys, forwardauth.Config{})
	if err != nil {
		return nil, err
	}
	sides := []side{{name: sideKeytail, handler: public}, {name: sideEmpty, handler: a.empty}}
	if a.sameGoal > 0 {
		request, err := a.newRequest("127.0.0.1", keys[0])
		if err != nil {
			return nil, err
		}
		sides = append(sides, side{name: sideSame, handler: sameBytes(public, request)})
	}
	if !a.variants {
		return sides, nil
	}
	identity, err := forwardauth.ParseIdentity(forwardauth.IdentityHeaders())
	if err != nil {
		return nil, err
	}
	all, err := newPublicHandler(keys, forwardauth.Config{Identity: identity})
	return append(sides, side{name: sideAll, handler: all}, side{name: sideUnix, handler: public, unix: true}), err
}

// sameBytes returns a Gin handler whose responses have the status, the headers and the
// body of the handler's response to a request.
func sameBytes(handler http.Handler, r *http.Request) http.Handler {
	recorded := httptest.NewRecorder()
	handler.ServeHTTP(recorded, r)
	names := slices.Collect(maps.Keys(recorded.Header()))
	return ginHandler(r.Method, r.URL.Path, func(c *gin.Context) {
		header := c.Writer.Header()
		for _, name := range names {
			header[name] = recorded.Header()[name]
		}
		c.Status(recorded.Code)
		c.Writer.WriteHeaderNow()
		if recorded.Body.Len() > 0 {
			_, _ = c.Writer.Write(recorded.Body.Bytes()) // if it fails, the generator reports it
		}
	})
}

// measure serves all sides and sends requests to them, round after round.
func (a *handlerComparison) measure(ctx context.Context, e *env, sides []side, keys []string) (*measurement, error) {
	const connections = 16
	m := newMeasurement(e, fmt.Sprintf("%d connections", connections))
	for _, s := range sides {
		listenOn := listen
		if s.unix {
			listenOn = listenUnix
		}
		address, stop, err := listenOn(ctx, s.handler)
		if err != nil {
			return nil, err
		}
		defer stop()
		g, err := newGenerator(address, a.newRequest, keys, connections)
		if err != nil {
			return nil, err
		}
		m.add(s.name, g.run)
	}
	return m, m.run(ctx)
}
