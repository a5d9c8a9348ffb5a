package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/routes"
)

var authRow = row{
	name:         "auth",
	title:        "forward-auth over HTTP",
	measures:     "GET /v1/auth with a cached key, over keep-alive connections",
	comparedWith: "an empty Gin handler",
	goals:        "at least 0.93 times the requests per second, and at most 1.2 times the p99 latency",
	run: func(ctx context.Context, e *env, r *result) error {
		empty := gin.New()
		empty.GET("/v1/auth", func(c *gin.Context) { c.Status(http.StatusOK) })
		return measureHandlers(ctx, e, r, handlerComparison{
			empty: empty, newRequest: authRequest, goal: 0.93,
			baseline: constantHeaders(), baselineName: "handler that only sets the nine headers",
		})
	},
}

var verifyRow = row{
	name:         "verify",
	title:        "verify over HTTP",
	measures:     "POST /v1/keys/verify with a cached key, over keep-alive connections",
	comparedWith: "an empty Gin handler that decodes and encodes JSON of the same size",
	goals:        "at least 0.85 times the requests per second, and at most 1.2 times the p99 latency",
	run: func(ctx context.Context, e *env, r *result) error {
		empty := gin.New()
		empty.POST("/v1/keys/verify", func(c *gin.Context) {
			var body struct {
				Key    string   `json:"key"`
				Scopes []string `json:"scopes"`
				OrgID  string   `json:"org_id"`
			}
			if err := c.ShouldBindJSON(&body); err != nil {
				c.Status(http.StatusBadRequest)
				return
			}
			c.JSON(http.StatusOK, constantResponse)
		})
		return measureHandlers(ctx, e, r, handlerComparison{empty: empty, newRequest: verifyRequest, goal: 0.85})
	},
}

// requestsRelativeToEmpty is the name of a goal.
const requestsRelativeToEmpty = "requests per second, relative to an empty handler"

// constantResponse has the size of a real response.
var constantResponse = struct {
	Valid       bool            `json:"valid"`
	Code        string          `json:"code"`
	KeyID       string          `json:"key_id"`
	UserID      string          `json:"user_id"`
	OrgID       *string         `json:"org_id"`
	ProjectID   *string         `json:"project_id"`
	Name        string          `json:"name"`
	Scopes      []string        `json:"scopes"`
	ExpiresAt   *string         `json:"expires_at"`
	Metadata    json.RawMessage `json:"metadata"`
	Source      string          `json:"source"`
	AsOf        string          `json:"as_of"`
	StalenessMS int             `json:"staleness_ms"`
	Revision    string          `json:"revision"`
}{
	true, "VALID", "000000000000000000000001", "user-0000001", new("acme"), nil, "continuous integration",
	[]string{"orders:read", "orders:write"},
	nil, json.RawMessage("{}"), "cache", "2026-11-23T20:00:00.120Z", 412, "6923a1c000000003",
}

// authRequest returns a forward-auth request for a key.
func authRequest(address, key string) (*http.Request, error) {
	r, err := http.NewRequest(http.MethodGet, "http://"+address+"/v1/auth?scope=orders:read&org_id=acme", nil) //nolint:noctx // it is only encoded, never sent
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+key)
	return r, nil
}

// verifyRequest returns a verify request for a key.
func verifyRequest(address, key string) (*http.Request, error) {
	body := fmt.Sprintf(`{"key":%q,"scopes":["orders:read"],"org_id":"acme"}`, key)
	r, err := http.NewRequest(http.MethodPost, "http://"+address+"/v1/keys/verify", strings.NewReader(body)) //nolint:noctx // it is only encoded, never sent
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	return r, nil
}

// handlerComparison compares the public listener with handlers that do less.
type handlerComparison struct {
	empty http.Handler
	// baseline does only what the HTTP contract requires. Nil: it is not measured.
	baseline     http.Handler
	baselineName string
	newRequest   func(address, key string) (*http.Request, error)
	// goal is the smallest ratio of requests per second to the empty handler's.
	goal float64
}

// constantHeaders returns a handler that sets the headers of an allowed forward-auth
// request (docs/http.md), all of them constant.
func constantHeaders() http.Handler {
	names := []string{
		"Cache-Control", forwardauth.HeaderRequestID, forwardauth.HeaderResult, forwardauth.HeaderStaleness,
		forwardauth.HeaderKeyID, forwardauth.HeaderUserID, forwardauth.HeaderOrgID, forwardauth.HeaderProjectID, forwardauth.HeaderScopes,
	}
	value := []string{"sixteen letters."}
	engine := gin.New()
	engine.GET("/v1/auth", func(c *gin.Context) {
		header := c.Writer.Header()
		for _, name := range names {
			header[name] = value
		}
		c.Status(http.StatusOK)
	})
	return engine
}

func measureHandlers(ctx context.Context, e *env, r *result, a handlerComparison) error {
	const connections = 16
	keys, err := generateKeys(e.size(1000, 50))
	if err != nil {
		return err
	}
	public, err := newPublicHandler(keys, nil)
	if err != nil {
		return err
	}
	sides := []struct {
		name    string
		handler http.Handler
	}{{"keytail", public}, {"empty Gin handler", a.empty}, {a.baselineName, a.baseline}}
	if a.baseline == nil {
		sides = sides[:2]
	}
	duration := e.duration(2 * time.Second)
	loads := make([][]*load, len(sides))
	var names []string
	var runs []func() (float64, error)
	for i, s := range sides {
		g, stop, err := a.serve(ctx, s.handler, keys, connections)
		if err != nil {
			return err
		}
		defer stop()
		names = append(names, s.name)
		runs = append(runs, func() (float64, error) {
			l, err := g.run(ctx, duration)
			if err != nil {
				return 0, err
			}
			loads[i] = append(loads[i], l)
			e.progress("%s: %.0f requests per second, p99 %v", s.name, l.perSecond, l.quantile(99))
			return l.perSecond, nil
		})
	}
	rates, err := alternate(ctx, e.size(9, 1), runs...)
	if err != nil {
		return err
	}
	r.goal(ratiosOf(rates[0], rates[1]).goal(requestsRelativeToEmpty, ">=", a.goal))
	r.goal(ratiosOf(p99s(loads[0]), p99s(loads[1])).goal("p99 latency, relative to an empty handler", "<=", 1.2))
	if a.baseline != nil {
		r.note(fmt.Sprintf("Requests per second, relative to the %s: keytail %s, the empty handler %s.", a.baselineName,
			ratiosOf(rates[0], rates[2]).text(), ratiosOf(rates[1], rates[2]).text()))
		r.note("The nine headers of an allowed request have a cost in any program that sets them: net/http keeps the headers in a map, which outgrows its first group of eight with the ninth header. net/http also copies the map when the response begins, and sorts it to write it. The row profile shows what keytail adds.")
	}
	r.table(loadTable(fmt.Sprintf("%d connections; medians of %d rounds of %v", connections, len(rates[0]), duration), names, loads))
	return nil
}

// newPublicHandler returns the handler of keytail's public listener, with these keys in
// the cache.
func newPublicHandler(keys []string, policies map[string]forwardauth.Policy) (http.Handler, error) {
	v, err := newCachedValidator(keys, 64)
	if err != nil {
		return nil, err
	}
	return routes.NewPublic(routes.PublicConfig{Config: forwardauth.Config{Validator: v, Policies: policies}, Logger: zap.NewNop()})
}

// p99s returns the p99 latency of each load, in nanoseconds.
func p99s(loads []*load) []float64 {
	var all []float64
	for _, l := range loads {
		all = append(all, float64(l.quantile(99)))
	}
	return all
}

// serve serves a handler and returns a generator that sends a request for each key in
// turn.
func (a *handlerComparison) serve(ctx context.Context, handler http.Handler, keys []string, connections int) (*generator, func(), error) {
	address, stop, err := listen(ctx, handler)
	if err != nil {
		return nil, nil, err
	}
	g := &generator{address: address, connections: connections, status: http.StatusOK}
	for _, key := range keys {
		r, err := a.newRequest(address, key)
		if err == nil {
			var text []byte
			if text, err = raw(r); err == nil {
				g.requests = append(g.requests, text)
			}
		}
		if err != nil {
			stop()
			return nil, nil, err
		}
	}
	return g, stop, nil
}

func loadTable(title string, names []string, loads [][]*load) table {
	t := table{Title: title, Head: []string{"", "requests per second", "p50", "p99", "p99.9", "CPU per request"}}
	for i, name := range names {
		cells := []string{name}
		for _, figure := range []func(*load) float64{
			func(l *load) float64 { return l.perSecond },
			func(l *load) float64 { return float64(l.quantile(50)) },
			func(l *load) float64 { return float64(l.quantile(99)) },
			func(l *load) float64 { return float64(l.quantile(99.9)) },
			func(l *load) float64 { return float64(l.cpu) },
		} {
			var all []float64
			for _, l := range loads[i] {
				all = append(all, figure(l))
			}
			if len(cells) == 1 {
				cells = append(cells, fmt.Sprintf("%.0f", median(all)))
				continue
			}
			cells = append(cells, time.Duration(median(all)).Round(100*time.Nanosecond).String())
		}
		t.Rows = append(t.Rows, cells)
	}
	return t
}
