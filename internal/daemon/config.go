package daemon

import (
	"errors"
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytail/keytail/internal/forwardauth"
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
	// Policies are the requirements behind /v1/auth/policy/{name}, by name. Nil: none.
	Policies map[string]forwardauth.Policy
	// HideCredentials lets Envoy remove the key from a request that may go ahead.
	// False: the key goes on to the API.
	HideCredentials bool
	// CallerTokenFile names the callers of verify, sync and events, in lines of
	// name=token; it is read again when it changes. Empty: everyone who reaches the
	// public handler may call verify, and sync and events are off.
	CallerTokenFile string
	// AdminTokenFile names the users of the admin handler, in the same form with their
	// rights: name=token role=viewer, operator or admin. Empty: there is no admin
	// handler.
	AdminTokenFile string
	// AdminCertificates: the TLS listener of the admin handler verifies certificates of
	// clients, so that AdminTokenFile may have lines with san=. False: it must not.
	AdminCertificates bool
	// AdminAuditReads writes an audit entry for each read of keys. False: only changes
	// and refused requests are in the audit.
	AdminAuditReads bool
}

// settings are what the fields of a Config that are not the core's parse to.
type settings struct {
	forward forwardauth.Config
	// callers and admins are nil without their file.
	callers, admins *tokens.Set
}

// settings parses those fields, and reports every mistake in them.
func (c *Config) settings() (settings, error) {
	sources, sourcesErr := forwardauth.ParseKeySources(c.KeySources)
	proxies, proxiesErr := forwardauth.ParseTrustedProxies(c.TrustedProxies)
	callers, callersErr := c.tokens(tokens.Config{Path: c.CallerTokenFile, Flag: "caller-token-file", Listener: "public"})
	admins, adminsErr := c.tokens(tokens.Config{
		Path: c.AdminTokenFile, Flag: "admin-token-file", Listener: "admin", Rights: true, Certificates: c.AdminCertificates,
	})
	return settings{
		forward: forwardauth.Config{KeySources: sources, TrustedProxies: proxies, Policies: c.Policies},
		callers: callers, admins: admins,
	}, errors.Join(sourcesErr, proxiesErr, c.checkPolicies(), callersErr, adminsErr)
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
