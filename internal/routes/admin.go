package routes

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/instrument"
	"github.com/keytail/keytail/internal/serverspan"
	"github.com/keytail/keytail/internal/websession"
)

// actorKey is the name in Gin's context of the caller's name.
const actorKey = "keytail.actor"

// AdminConfig configures the admin listener.
type AdminConfig struct {
	// Callers may use the listener, each by its role. Required: the admin listener is
	// never open to everyone.
	Callers AdminCallers
	// Status is required. Many goroutines call it concurrently.
	Status func() Status
	// Details are what the status shows beyond Status. It reads nothing from the database.
	// Nil: nothing more.
	Details func() api.StatusDetails
	// Syncer serves sync and instances, and Events serves events, as on the
	// public listener. Nil: not served.
	Syncer Syncer
	Events Events
	// OpenPerToken is PublicConfig's.
	OpenPerToken int
	// Keys serves the admin API of keys and the audit. Nil: not served.
	Keys Keys
	// Playground is the page of --dev on which people break the database. Nil: it is not
	// served, which is so in every program but that one.
	Playground Playground
	// LogLevel is the level of the log, which the listener shows and changes. Nil: it
	// is not served.
	LogLevel *zap.AtomicLevel
	// Refusals keeps failed logins, and what a caller may not do. Nil: nobody does.
	Refusals Refusals
	// Instance and Version are shown on the status page.
	Instance, Version string
	// Tracer begins the spans of requests. Nil: tracing is off.
	Tracer *serverspan.Tracer
	// Now is the clock of sessions and of the states of keys on pages. Nil: time.Now.
	Now func() time.Time
	// Requests measures the requests of all listeners. Nil: they are not measured.
	Requests *instrument.Requests
	// Logger gets panics, and a line for each request at debug level. Nil: none.
	Logger *zap.Logger
}

// admin holds what its handlers share. Its configuration does not change after NewAdmin.
type admin struct {
	AdminConfig
	guesses *guesses
	// sessions are those who have signed in to the pages, outcomes what they see next.
	sessions *websession.Table[[sha256.Size]byte]
	outcomes *websession.Table[outcome]
	// signingIn are the forms to sign in that are being read, clientsSigningIn those of
	// each client.
	signingIn, clientsSigningIn *tokenLimit
	// finding are the texts of keys that are being read, of each caller.
	finding *tokenLimit
	// waits are those of the pages.
	waits *tokenLimit
	lists pageLists
	// pages has an element for each open stream of the status page.
	pages chan struct{}
}

// NewAdmin makes the handler of the admin listener. Every path that isOpen does not name
// requires an admin token, a session, or the certificate of a caller. So does a path that
// does not exist: whoever has none of them learns nothing about the paths. What each
// caller may do is in adminRights.
func NewAdmin(config AdminConfig) (http.Handler, error) {
	if config.Callers == nil || config.Status == nil {
		return nil, errors.New("routes: AdminConfig needs Callers and Status")
	}
	config.Logger = named(config.Logger)
	if config.Now == nil {
		config.Now = time.Now
	}
	a := &admin{
		AdminConfig: config, guesses: newGuesses(config.Logger), sessions: newSessions(config.Now), outcomes: newOutcomes(config.Now),
		signingIn: newTokenLimit(maxSigningIn), clientsSigningIn: newTokenLimit(maxSigningInPerClient), finding: newTokenLimit(maxFinding),
		waits: newTokenLimit(config.OpenPerToken), pages: make(chan struct{}, maxLive),
	}
	m := &meter{requests: config.Requests}
	engine := newEngine(config.Logger, forwardauth.DefaultKeySources(), m)
	// Gin would read a + as a space. readPathID unescapes instead.
	engine.UnescapePathValues = false
	engine.Use(newTraces(config.Tracer, withBearer(forwardauth.DefaultKeySources()), true).after(a.requireAdmin, a.requireRight)...)
	readable(engine, api.PathLive, live)
	readable(engine, api.PathOpenAPI, document)
	readable(engine, "/", a.page)
	readable(engine, pathAsset, asset)
	readable(engine, pathSignIn, a.signInPage)
	engine.POST(pathSignIn, a.signIn)
	engine.POST(pathSignOut, a.signOut)
	readable(engine, api.PathStatus, a.status)
	if config.LogLevel != nil {
		readable(engine, api.PathLogLevel, a.logLevel)
		engine.PUT(api.PathLogLevel, a.setLogLevel)
	}
	serveSync(engine, config.Syncer, config.OpenPerToken)
	serveEvents(engine, config.Events, config.OpenPerToken)
	a.serveLive(engine, liveSource{pathStatusLive, liveInterval, a.statusParts})
	if config.Syncer != nil {
		readable(engine, api.PathInstances, instances(config.Syncer))
	}
	if config.Keys != nil {
		a.serveKeys(engine)
		a.serveKeyPages(engine)
	}
	if config.Playground != nil {
		a.servePlayground(engine)
	}
	m.prepare(engine)
	return engine, nil
}

func (a *admin) currentStatus() *api.Status {
	s := a.Status()
	status := &api.Status{Instance: a.Instance, Version: a.Version, Readiness: *readinessOf(&s)}
	if a.Details != nil {
		status.StatusDetails = a.Details()
	}
	return status
}

func (a *admin) status(c *gin.Context) { writeJSON(c, http.StatusOK, a.currentStatus()) }
