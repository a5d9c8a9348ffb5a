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
	name:    "auth",
	what:    "GET /v1/auth with a key that is held, over keep-alive connections",
	against: "an empty Gin handler",
	reach:   ">= 0.93x requests a second, p99 <= 1.2x",
	run: func(ctx context.Context, e *env, r *result) error {
		empty := gin.New()
		empty.GET("/v1/auth", func(c *gin.Context) { c.Status(http.StatusOK) })
		return measureAnswers(ctx, e, r, answersOf{
			empty: empty, ask: askAuth, reach: 0.93,
			floor: contract(), floorName: "the contract's nine headers, and nothing else",
		})
	},
}

var verifyRow = row{
	name:    "verify",
	what:    "POST /v1/keys/verify with a key that is held, over keep-alive connections",
	against: "an empty Gin handler that reads JSON of that size and answers JSON of that size",
	reach:   ">= 0.85x requests a second",
	run: func(ctx context.Context, e *env, r *result) error {
		empty := gin.New()
		empty.POST("/v1/keys/verify", func(c *gin.Context) {
			var question struct {
				Key    string   `json:"key"`
				Scopes []string `json:"scopes"`
				OrgID  string   `json:"org_id"`
			}
			if err := c.ShouldBindJSON(&question); err != nil {
				c.Status(http.StatusBadRequest)
				return
			}
			c.JSON(http.StatusOK, plainAnswer)
		})
		return measureAnswers(ctx, e, r, answersOf{empty: empty, ask: askVerify, reach: 0.85})
	},
}

// plainAnswer is as large as a real one, and filled in by nobody.
var plainAnswer = struct {
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

// askAuth is a question about a key.
func askAuth(address, key string) (*http.Request, error) {
	r, err := http.NewRequest(http.MethodGet, "http://"+address+"/v1/auth?scope=orders:read&org_id=acme", nil) //nolint:noctx // it is only written down
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+key)
	return r, nil
}

func askVerify(address, key string) (*http.Request, error) {
	body := fmt.Sprintf(`{"key":%q,"scopes":["orders:read"],"org_id":"acme"}`, key)
	r, err := http.NewRequest(http.MethodPost, "http://"+address+"/v1/keys/verify", strings.NewReader(body)) //nolint:noctx // it is only written down
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	return r, nil
}

// answersOf is a comparison of the public listener with handlers that do less.
type answersOf struct {
	empty http.Handler
	// floor does as little as the wire contract lets anybody do. Nil: it is not
	// measured.
	floor     http.Handler
	floorName string
	ask       func(address, key string) (*http.Request, error)
	reach     float64
}

// contract answers with the headers of HTTP.md, all of them constant.
func contract() http.Handler {
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

func measureAnswers(ctx context.Context, e *env, r *result, a answersOf) error {
	const connections = 16
	keys, err := texts(e.size(1000, 50))
	if err != nil {
		return err
	}
	public, err := publicOf(keys, nil)
	if err != nil {
		return err
	}
	sides := []struct {
		name    string
		handler http.Handler
	}{{"keytail", public}, {"empty Gin handler", a.empty}, {a.floorName, a.floor}}
	if a.floor == nil {
		sides = sides[:2]
	}
	lasting := e.lasting(2 * time.Second)
	loads := make([][]*load, len(sides))
	var names []string
	var runs []func() (float64, error)
	for i, s := range sides {
		g, stop, err := a.side(ctx, s.handler, keys, connections)
		if err != nil {
			return err
		}
		defer stop()
		names = append(names, s.name)
		runs = append(runs, func() (float64, error) {
			l, err := g.run(ctx, lasting)
			if err != nil {
				return 0, err
			}
			loads[i] = append(loads[i], l)
			e.say("%s: %.0f a second, p99 %v", s.name, l.perSecond, l.quantile(99))
			return l.perSecond, nil
		})
	}
	rates, err := inTurn(ctx, e.size(9, 1), runs...)
	if err != nil {
		return err
	}
	r.goal(ratiosOf(rates[0], rates[1]).goal("requests a second, to those of the empty handler", ">=", a.reach))
	r.goal(ratiosOf(tails(loads[0]), tails(loads[1])).goal("p99 to that of the empty handler", "<=", 1.2))
	if a.floor != nil {
		r.note(fmt.Sprintf("To the requests a second of the handler that sets %s: keytail %s, the empty handler %s.", a.floorName,
			ratiosOf(rates[0], rates[2]).text(), ratiosOf(rates[1], rates[2]).text()))
		r.note("So the contract has a price of its own, whoever keeps it: net/http has the headers in a map, which outgrows its first group of eight with the ninth, is copied when the answer begins, and is sorted to be written. What keytail adds to that is in the row profile.")
	}
	r.table(loadTable(fmt.Sprintf("%d connections; medians of %d rounds of %v", connections, len(rates[0]), lasting), names, loads))
	return nil
}

// publicOf is keytail's public listener with these keys held.
func publicOf(keys []string, policies map[string]forwardauth.Policy) (http.Handler, error) {
	v, err := held(keys, 64)
	if err != nil {
		return nil, err
	}
	return routes.NewPublic(routes.PublicConfig{Config: forwardauth.Config{Validator: v, Policies: policies}, Logger: zap.NewNop()})
}

// tails are the p99 of loads.
func tails(loads []*load) []float64 {
	var all []float64
	for _, l := range loads {
		all = append(all, float64(l.quantile(99)))
	}
	return all
}

// side serves a handler and asks about all keys in turn.
func (a *answersOf) side(ctx context.Context, handler http.Handler, keys []string, connections int) (*generator, func(), error) {
	address, stop, err := listen(ctx, handler)
	if err != nil {
		return nil, nil, err
	}
	g := &generator{address: address, connections: connections, status: http.StatusOK}
	for _, key := range keys {
		r, err := a.ask(address, key)
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
	t := table{Title: title, Head: []string{"", "requests a second", "p50", "p99", "p99.9", "CPU of this process a request"}}
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
