package daemon

import (
	"errors"
	"maps"
	"net/netip"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/decisionlog"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/mongoclient"
	"github.com/keytail/keytail/internal/playground"
	"github.com/keytail/keytail/internal/service"
	"github.com/keytail/keytail/internal/tokens"
)

// Config of a Daemon. The zero value of each field is a default.
type Config struct {
	// Config is that of the core. Its Registerer is not used: Registry is.
	service.Config
	// Registry receives the metrics and is what /metrics shows. Nil: a new one.
	Registry *prometheus.Registry
	// KeySources are the places in a request where forward-auth looks for the key, as
	// in --key-sources. Empty: bearer and x-api-key.
	KeySources []string
	// TrustedProxies are addresses or networks whose X-Forwarded-For names the client.
	// Empty: the peer is the client.
	TrustedProxies []string
	// AuthHeaders are the identity headers that every 200 has, as in --auth-headers.
	// Empty: those that have a value.
	AuthHeaders []string
	// AuthCallerNetworks are addresses or networks whose peers may call forward-auth over
	// HTTP. Empty: everyone who reaches the public handler may call it.
	AuthCallerNetworks []string
	// DisableForwardAuth takes forward-auth off the public handler.
	DisableForwardAuth bool
	// TraceCallerNetworks are addresses or networks of callers whose traceparent is followed, as
	// is that of a caller with a token. Empty: there are none. It needs the core's
	// TracerProvider, which takes the spans of requests, too.
	TraceCallerNetworks []string
	// Policies are the requirements behind /v1/auth/policy/{name}, by name. Nil: none.
	Policies map[string]forwardauth.Policy
	// HideCredentials lets Envoy remove the key from a request that may go ahead.
	// False: the key goes on to the API.
	HideCredentials bool
	// GRPCReflection describes the services of ExtAuthz to everyone who connects to it.
	GRPCReflection bool
	// OpenPerToken and AdminOpenPerToken bound the streams of events, and the waits for
	// a revision, that are open with one caller token or admin token, each on its own.
	// Zero: no bound but that of all together.
	OpenPerToken, AdminOpenPerToken int
	// CallerTokenFile names the callers of verify, sync and events, in lines of
	// name=token; it is read again when it changes. Empty: everyone who reaches the
	// public handler may call verify, and sync and events are off.
	CallerTokenFile string
	// AdminTokenFile names the users of the admin handler, in the same form with their
	// rights: name=token role=viewer, operator or admin. Empty: there is no admin
	// handler.
	AdminTokenFile string
	// LogLevel is the level of Logger, which the admin handler changes. Nil: it cannot.
	LogLevel *zap.AtomicLevel
	// Members are the MongoDB servers as the driver sees them, for the status. Nil: not
	// known.
	Members func() []mongoclient.Member
	// Settings is the configuration that the status shows, without secrets. Nil: none.
	Settings []api.Setting
	// DecisionLog writes a line for each answer about a key. Its Instance, Logger and
	// Registerer are set by New. An empty Path: there is none.
	DecisionLog decisionlog.Config
	// AdminCertificates: the TLS listener of the admin handler verifies certificates of
	// clients, so that AdminTokenFile may have lines with san=. False: it must not.
	AdminCertificates bool
	// Playground is the page of the admin handler on which people break the database. Its
	// Validator, State and MaxStale are set by New. Nil: there is none.
	Playground *playground.Config
	// AdminAuditReads writes an audit entry for each read of keys. False: only changes
	// and refused requests are in the audit.
	AdminAuditReads bool
}

// settings are what the fields of a Config that are not the core's parse to.
type settings struct {
	forward forwardauth.Config
	// authCallers is nil if everyone may call forward-auth.
	authCallers []netip.Prefix
	// traceCallers are the networks whose traceparent is followed.
	traceCallers []netip.Prefix
	// callers and admins are nil without their file.
	callers, admins *tokens.Set
}

// settings parses those fields, and reports every mistake in them.
func (c *Config) settings() (settings, error) {
	sources, sourcesErr := forwardauth.ParseKeySources(c.KeySources)
	proxies, proxiesErr := forwardauth.ParseTrustedProxies(c.TrustedProxies)
	identity, identityErr := forwardauth.ParseIdentity(c.AuthHeaders)
	authCallers, authCallersErr := forwardauth.ParseNetworks("network of a caller of forward-auth", c.AuthCallerNetworks)
	traceCallers, traceCallersErr := forwardauth.ParseNetworks("network of a caller whose traces are followed", c.TraceCallerNetworks)
	callers, callersErr := c.tokens(tokens.Config{Path: c.CallerTokenFile, Flag: "caller-token-file", Listener: "public"})
	admins, adminsErr := c.tokens(tokens.Config{
		Path: c.AdminTokenFile, Flag: "admin-token-file", Listener: "admin", Rights: true, Certificates: c.AdminCertificates,
	})
	return settings{
		forward:     forwardauth.Config{KeySources: sources, TrustedProxies: proxies, Policies: c.Policies, Identity: identity},
		authCallers: authCallers, traceCallers: traceCallers,
		callers: callers, admins: admins,
	}, errors.Join(sourcesErr, proxiesErr, identityErr, authCallersErr, traceCallersErr, c.checkPolicies(), callersErr, adminsErr, tokens.Separate(callers, admins), decisionlog.Check(c.DecisionLog.AcceptRatio, c.DecisionLog.Mask))
}

func (c *Config) checkPolicies() error {
	var mistakes []error
	for _, name := range slices.Sorted(maps.Keys(c.Policies)) {
		mistakes = append(mistakes, forwardauth.CheckPolicy(name, c.Policies[name]))
	}
	return errors.Join(mistakes...)
}

// tokens is nil without a file.
func (c *Config) tokens(of tokens.Config) (*tokens.Set, error) {
	if of.Path == "" {
		return nil, nil //nolint:nilnil // no file, and no error
	}
	of.Logger, of.Registerer = c.Logger.Named("tokens"), c.Registry
	return tokens.New(of)
}
