package routes

import (
	"errors"
	"html/template"
	"net/http"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/forwardauth"
)

// keyActor is where a handler of the admin listener finds whose token it was.
const keyActor = "keytail.actor"

// AdminConfig is what the admin listener needs.
type AdminConfig struct {
	// Tokens may use it. Required: there is no admin listener for everybody.
	Tokens Tokens
	// Status is required, and called from many goroutines at once.
	Status func() Status
	// Syncer and Events are behind sync, instances and events, as on the public
	// listener. Nil: that one is off.
	Syncer Syncer
	Events Events
	// Keys is behind the API of keys and their audit. Nil: that is off.
	Keys Keys
	// Instance and Version are shown on the status page.
	Instance, Version string
	// Logger gets a line for each request at debug level, and panics. Nil: none.
	Logger *zap.Logger
}

// admin holds what its handlers share; nothing of it changes after NewAdmin.
type admin struct {
	AdminConfig
}

// NewAdmin makes the handler of the admin listener. Every path but /livez wants
// an admin token, those that do not exist as well, so that nobody without one
// learns what there is.
func NewAdmin(config AdminConfig) (http.Handler, error) {
	if config.Tokens == nil || config.Status == nil {
		return nil, errors.New("routes: the admin listener needs tokens and a status")
	}
	config.Logger = named(config.Logger)
	a := &admin{config}
	engine := newEngine(config.Logger, forwardauth.DefaultKeySources())
	// Gin would take a + for a space: readPathID does it.
	engine.UnescapePathValues = false
	engine.Use(a.wantAdmin)
	readable(engine, api.PathLive, live)
	readable(engine, api.PathOpenAPI, document)
	readable(engine, "/", a.page)
	readable(engine, api.PathStatus, a.status)
	receipts(engine, config.Syncer, config.Events)
	if config.Syncer != nil {
		engine.GET(api.PathInstances, instances(config.Syncer))
	}
	if config.Keys != nil {
		a.keys(engine)
	}
	return engine, nil
}

// wantAdmin lets through who has an admin token, as Bearer or, to look only, as
// the password of HTTP Basic, which is what a browser can send. A browser sends
// that again by itself when another site makes it ask, so it must never be enough
// to change anything.
func (a *admin) wantAdmin(c *gin.Context) {
	if c.FullPath() == api.PathLive {
		return
	}
	token, ok := adminToken(c.Request)
	if token != "" {
		forwardauth.HideKey(c.Writer.Header(), token)
	}
	if ok {
		var name string
		if name, ok = a.Tokens.Name(token); ok {
			c.Set(keyActor, name)
			return
		}
	}
	header := c.Writer.Header()
	forwardauth.HideKey(header, "") // the token may be in a form that is not read here
	header.Del("Allow")
	header.Add(forwardauth.HeaderChallenge, `Basic realm="keytail admin", charset="UTF-8"`)
	refuseToken(c, token, `Bearer realm="keytail admin"`, "this listener wants an admin token: Authorization: Bearer, or in a browser any user name with the token as password")
}

// adminToken is the token that a request offers.
func adminToken(r *http.Request) (token string, ok bool) {
	token, ok = soleToken(r.Header["Authorization"])
	if !ok || token != "" || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return token, ok
	}
	_, password, _ := r.BasicAuth()
	return password, true
}

func (a *admin) now() *api.Status {
	s := a.Status()
	return &api.Status{Instance: a.Instance, Version: a.Version, Readiness: *readinessOf(&s)}
}

func (a *admin) status(c *gin.Context) { writeJSON(c, http.StatusOK, a.now()) }

// page shows the status to a person. It loads nothing and runs nothing.
func (a *admin) page(c *gin.Context) {
	header := c.Writer.Header()
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Content-Type", "text/html; charset=utf-8")
	c.Status(http.StatusOK)
	if err := statusPage.Execute(c.Writer, a.now()); err != nil {
		// The client has gone; the template is tested.
		_ = c.Error(err)
	}
}

var statusPage = template.Must(template.New("status").Parse(`<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="5">
<title>keytail: {{.State}}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:40rem;padding:0 1rem;color-scheme:light dark}
th{text-align:left;font-weight:normal;padding-right:2rem;vertical-align:top}h1{font-size:1.3rem}</style></head>
<body><h1>keytail is {{.State}}</h1>
<table>
<tr><th>instance<td>{{.Instance}}
<tr><th>version<td>{{.Version}}
<tr><th>staleness<td>{{with .StalenessMS}}{{.}} ms{{else}}not known yet{{end}}
<tr><th>lag of the last change<td>{{with .LagMS}}{{.}} ms{{else}}not known yet{{end}}
<tr><th>epoch<td>{{.Epoch}}
<tr><th>holds every key<td>{{if .Complete}}yes{{else}}no{{end}}
<tr><th>entries<td>{{.Entries}}
<tr><th>last loss of history<td>{{with .LastLoss}}{{.At}}: {{.Reason}}{{else}}never{{end}}
<tr><th>unique index on the hash<td>{{with .IndexMissing}}MISSING: {{.}}{{else}}yes{{end}}
{{with .Usage}}<tr><th>uses of keys to be written<td>{{.PendingKeys}} keys{{with .FailingMS}}, not written for {{.}} ms{{end}}
{{end}}{{with .Note}}<tr><th>note<td>{{.}}
{{end}}</table></body></html>
`))
