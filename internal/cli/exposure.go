package cli

import "github.com/keytail/keytail/internal/config"

// exposure is a listener that other machines can reach with too little protection.
type exposure struct {
	// flag and addr are those of the listener.
	flag, addr string
	// text says what follows, and what to do.
	text string
}

// exposures are warnings of serve and of doctor. The admin listener has none: it does
// not start unencrypted beyond loopback.
func exposures(cfg *config.Config) []exposure {
	var all []exposure
	warn := func(is bool, flag, addr, text string) {
		if is && !config.Loopback(addr) {
			all = append(all, exposure{flag, addr, text})
		}
	}
	tokens, encrypted := cfg.CallerTokenFile != "", cfg.TLS.CertFile != ""
	warn(!tokens, "addr", cfg.Addr,
		"the public listener is reachable from other machines, and anyone who can connect may validate keys: set --caller-token-file, or allow only your own services and proxies to connect")
	warn(tokens && cfg.ForwardAuth && len(cfg.AuthCallerNetworks) == 0, "addr", cfg.Addr,
		"the public listener is reachable from other machines, and anyone who can connect may validate keys by forward-auth, which needs no caller token: set --auth-caller-networks to your proxies, or --forward-auth=false")
	secrets := "keys"
	if tokens {
		secrets = "caller tokens and keys"
	}
	warn(!encrypted, "addr", cfg.Addr,
		"the public listener is reachable from other machines, and "+secrets+" cross the network unencrypted: set --tls-cert-file and --tls-key-file, or let a proxy on this machine terminate TLS")
	if cfg.GRPCAddr != "" {
		warn(cfg.GRPCTLS.ClientCAFile == "", "grpc-addr", cfg.GRPCAddr,
			"the gRPC listener is reachable from other machines, and anyone who can connect may validate keys for any client address: set --grpc-tls-client-ca-file, or allow only Envoy to connect")
	}
	return all
}
