package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/secretfile"
)

// Listener is the configuration of one of the four listeners.
type Listener struct {
	// Name is public, grpc, operations or admin.
	Name string
	// Flag is the flag of its address, Prefix that of its TLS flags.
	Flag, Prefix string
	Addr         string
	TLS          TLSFiles
}

// The names of the listeners.
const (
	Public     = "public"
	GRPC       = "grpc"
	Operations = "operations"
	Admin      = "admin"
)

// Listeners are the enabled ones, in the order in which they are closed: public,
// grpc if it has an address, operations, and admin if there are admin tokens (--dev
// makes one).
func (c *Config) Listeners() []Listener {
	all := []Listener{{Name: Public, Flag: "addr", Prefix: "tls-", Addr: c.Addr, TLS: c.TLS}}
	if c.GRPCAddr != "" {
		all = append(all, Listener{Name: GRPC, Flag: "grpc-addr", Prefix: "grpc-tls-", Addr: c.GRPCAddr, TLS: c.GRPCTLS})
	}
	all = append(all, Listener{Name: Operations, Flag: "ops-addr", Prefix: "ops-tls-", Addr: c.OpsAddr, TLS: c.OpsTLS})
	if c.hasAdmin() {
		all = append(all, Listener{Name: Admin, Flag: "admin-addr", Prefix: "admin-tls-", Addr: c.AdminAddr, TLS: c.AdminTLS})
	}
	return all
}

func (c *Config) hasAdmin() bool { return c.AdminTokenFile != "" || c.Dev }

func (c *Config) checkListeners() error {
	var mistakes []error
	seen := map[string]string{} // address to the flag that has it
	for _, l := range c.Listeners() {
		if err := l.checkAddr(c.Dev); err != nil {
			mistakes = append(mistakes, err)
		} else if first := seen[l.Addr]; first != "" && !strings.HasSuffix(l.Addr, ":0") {
			mistakes = append(mistakes, fmt.Errorf("--%s and --%s are the same, %s: the listeners need different addresses", first, l.Flag, l.Addr))
		}
		seen[l.Addr] = l.Flag
		mistakes = append(mistakes, l.checkTLS())
	}
	_, modeErr := c.SocketMode()
	mistakes = append(mistakes, modeErr)
	if c.GRPCAddr == "" && c.GRPCTLS != (TLSFiles{}) {
		mistakes = append(mistakes, errors.New("the --grpc-tls flags are given, but the gRPC listener needs --grpc-addr"))
	}
	if !c.ForwardAuth && len(c.AuthCallerNetworks) > 0 {
		mistakes = append(mistakes, errors.New("--auth-caller-networks is given, but --forward-auth=false lets nobody call forward-auth: remove one of them"))
	}
	if c.GRPCAddr == "" && c.GRPCReflection {
		mistakes = append(mistakes, errors.New("--grpc-reflection is given, but the gRPC listener needs --grpc-addr"))
	}
	if c.GRPCAddr == "" && c.HideCredentials {
		mistakes = append(mistakes, errors.New("--hide-credentials needs the gRPC listener (--grpc-addr): over HTTP the proxy removes the key, see examples"))
	}
	if !c.hasAdmin() && c.AdminTLS != (TLSFiles{}) {
		mistakes = append(mistakes, errors.New("the --admin-tls flags are given, but the admin listener needs --admin-token-file"))
	}
	if c.hasAdmin() && c.AdminTLS.CertFile == "" && address("admin-addr", c.AdminAddr) == nil && !Loopback(c.AdminAddr) {
		mistakes = append(mistakes, errors.New("--admin-addr is reachable from other machines, and tokens would cross the network unencrypted: set --admin-tls-cert-file and --admin-tls-key-file, or use a loopback address"))
	}
	return errors.Join(mistakes...)
}

// checkTLS requires certificate and key together.
func (l Listener) checkTLS() error {
	cert, key, ca := l.TLS.CertFile != "", l.TLS.KeyFile != "", l.TLS.ClientCAFile != ""
	switch {
	case cert && !key:
		return fmt.Errorf("--%scert-file is given without --%skey-file: a listener needs both", l.Prefix, l.Prefix)
	case key && !cert:
		return fmt.Errorf("--%skey-file is given without --%scert-file: a listener needs both", l.Prefix, l.Prefix)
	case ca && !cert:
		return fmt.Errorf("--%sclient-ca-file is given without --%scert-file: without TLS no client presents a certificate", l.Prefix, l.Prefix)
	}
	return nil
}

// minConnections is enough for a few services; fewer are a mistake. maxConnections is
// what the memory of a large machine has space for.
const minConnections, maxConnections = 16, 1_000_000

// checkConnections: whether the number fits the limit of open files is known at start.
func (c *Config) checkConnections() error {
	if c.MaxConnections == 0 {
		return nil
	}
	return between("max-connections", c.MaxConnections, minConnections, maxConnections, "0, or between 16 and 1000000")
}

// checkTokenFiles: one file for both would make every caller an administrator.
func (c *Config) checkTokenFiles() error {
	if c.CallerTokenFile != "" && secretfile.IsSame(c.CallerTokenFile, c.AdminTokenFile) {
		return errors.New("--caller-token-file and --admin-token-file are the same file: every caller would be an administrator")
	}
	return nil
}

func (c *Config) checkDefaultScopes() error {
	var mistakes []error
	for i, scope := range c.DefaultScopes {
		if err := apikey.ValidScope(scope); err != nil {
			mistakes = append(mistakes, fmt.Errorf("--default-scopes, scope %d: %w", i+1, err))
		}
	}
	return errors.Join(mistakes...)
}
