package routes

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/events"
	"github.com/keytail/keytail/internal/statuspage"
	"github.com/keytail/keytail/internal/webui"
)

// pathStatusLive is where the status page gets its updates.
const pathStatusLive = "/status/live"

const (
	// liveInterval is between two updates: as often as the staleness gets a new point. A
	// change of state comes at once.
	liveInterval = time.Second
	// slowUpdates is how many updates there are for each one with all parts: the others have
	// those that a person watches.
	slowUpdates = 5
	// maxLive bounds the pages that are open at a time. Each renders itself once a second.
	maxLive = 16
	// maxLivePerToken leaves places for the callers of other tokens.
	maxLivePerToken = maxLive / 2
)

// watched are the parts of every update.
var watched = []string{"state", "why", "staleness"}

// liveSource is a page that keeps itself up to date.
type liveSource struct {
	// path is where it gets its updates.
	path string
	// interval is between two updates.
	interval time.Duration
	// parts are its title and its parts. Those that all does not ask for may be left out.
	parts func(c *gin.Context, all bool) (title string, parts []webui.Part, err error)
}

// statusParts are those of the status page.
func (a *admin) statusParts(c *gin.Context, all bool) (string, []webui.Part, error) {
	data := a.pageData(c)
	parts, err := statuspage.Parts(data)
	if !all {
		parts = slices.DeleteFunc(parts, func(p webui.Part) bool { return !slices.Contains(watched, p.ID) })
	}
	return data.Title(), parts, err
}

// serveLive serves the updates of a page.
func (a *admin) serveLive(engine *gin.Engine, source liveSource) {
	if a.Events != nil {
		engine.GET(source.path, append(limitPerToken(min(a.OpenPerToken, maxLivePerToken), nil), func(c *gin.Context) { a.live(c, source) })...)
	}
}

// live sends the parts of a page that have changed, as server-sent events, until the client
// disconnects, its token ends, or the instance shuts down.
func (a *admin) live(c *gin.Context, source liveSource) {
	if c.Request.URL.RawQuery != "" {
		writeProblem(c, api.CodeBadRequest, "this path takes no query")
		return
	}
	if site := c.GetHeader("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		// The browser sends the password, too, and the page of another site could hold all
		// streams, although it cannot read them.
		writeProblem(c, api.CodeNotPermitted, "a page of another site has sent this request")
		return
	}
	select {
	case a.pages <- struct{}{}:
		defer func() { <-a.pages }()
	default:
		writeProblem(c, api.CodeTooManyWaiting, "too many status pages are open: close some")
		return
	}
	subscription := openStream(c, a.Events, "")
	if subscription == nil {
		return
	}
	defer subscription.Close()
	(&livePage{admin: a, source: source, c: c, subscription: subscription, sent: map[string]string{}}).run()
}

// livePage is one page that is kept up to date.
type livePage struct {
	*admin
	source       liveSource
	c            *gin.Context
	subscription Subscription
	// sent maps the id of a part to what was sent last, or its version.
	sent map[string]string
}

// run sends updates until one of them fails.
func (p *livePage) run() {
	for count := 0; ; count++ {
		all := count%slowUpdates == 0
		if all && !p.admits(p.c) {
			return
		}
		if err := p.update(all); err != nil {
			return // the client is gone, or reads too slowly
		}
		if err := p.wait(); err != nil {
			return
		}
	}
}

// admits reports whether the caller of a request that was let pass still may: its token
// may have ended.
func (a *admin) admits(c *gin.Context) bool {
	who, _, err := a.identify(c)
	return err == nil && checkRight(who, rightFor(c.Request.Method, c.FullPath())) == nil
}

// wait ends with the interval, or when the state changes. The error: the stream is over.
func (p *livePage) wait() error {
	ctx, cancel := context.WithTimeoutCause(p.c.Request.Context(), p.source.interval, errIdle)
	defer cancel()
	for {
		batch, err := p.subscription.Next(ctx)
		if errors.Is(err, errIdle) {
			return nil
		}
		if err != nil {
			return err
		}
		if slices.ContainsFunc(batch, func(e events.Event) bool { return e.Kind == events.State || e.Kind == events.Loss }) {
			return nil
		}
	}
}

// liveUpdate is the data of an event.
type liveUpdate struct {
	Title string     `json:"title"`
	Parts []livePart `json:"parts"`
}

type livePart struct {
	ID   string `json:"id"`
	HTML string `json:"html"`
}

// update sends the parts that differ from what was sent. An update without parts shows the
// page that the connection works.
func (p *livePage) update(all bool) error {
	title, parts, err := p.source.parts(p.c, all)
	if err != nil {
		panic(err) // a bug of the template
	}
	body := liveUpdate{Title: title, Parts: []livePart{}}
	for _, part := range parts {
		version := cmp.Or(part.Version, part.HTML)
		if version == p.sent[part.ID] {
			continue
		}
		p.sent[part.ID] = version
		body.Parts = append(body.Parts, livePart{part.ID, part.HTML})
	}
	text, err := json.Marshal(&body) // escapes line breaks
	if err != nil {
		return err
	}
	return send(p.c, fmt.Appendf(nil, "event: update\ndata: %s\n\n", text))
}
