package cli

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/keytail/keytail/internal/config"
)

// TestExposures: what other machines can reach, and nothing about loopback.
func TestExposures(t *testing.T) {
	const tokens, pair = "tokens", "pair"
	for name, test := range map[string]struct {
		cfg  config.Config
		want []string
	}{
		"loopback":           {config.Config{Addr: "127.0.0.1:8080", CallerTokenFile: tokens, ForwardAuth: true, GRPCAddr: "[::1]:8081"}, nil},
		"no tokens":          {config.Config{Addr: ":8080", ForwardAuth: true}, []string{"set --caller-token-file", "and keys cross the network unencrypted"}},
		"no tokens, TLS":     {config.Config{Addr: ":8080", ForwardAuth: true, TLS: config.TLSFiles{CertFile: pair}}, []string{"set --caller-token-file"}},
		"tokens":             {config.Config{Addr: ":8080", CallerTokenFile: tokens, ForwardAuth: true}, []string{"set --auth-caller-networks", "set --tls-cert-file"}},
		"tokens, TLS":        {config.Config{Addr: ":8080", CallerTokenFile: tokens, ForwardAuth: true, TLS: config.TLSFiles{CertFile: pair}}, []string{"set --auth-caller-networks"}},
		"closed":             {config.Config{Addr: ":8080", CallerTokenFile: tokens, TLS: config.TLSFiles{CertFile: pair}}, nil},
		"closed to networks": {config.Config{Addr: ":8080", CallerTokenFile: tokens, ForwardAuth: true, AuthCallerNetworks: []string{"10.0.0.1"}, TLS: config.TLSFiles{CertFile: pair}}, nil},
		"gRPC":               {config.Config{Addr: "127.0.0.1:8080", GRPCAddr: ":8081"}, []string{"set --grpc-tls-client-ca-file"}},
	} {
		got := exposures(&test.cfg)
		matches := len(got) == len(test.want)
		for _, want := range test.want {
			matches = matches && slices.ContainsFunc(got, func(e exposure) bool { return strings.Contains(e.text, want) })
		}
		if !matches {
			t.Errorf("%s: got %+v, want %q", name, got, test.want)
		}
	}
}

// TestNamesOfOtherMachinesAreRefused where a browser on this machine could be made to
// read a listener; not on the public one, whose proxy may pass on any name.
func TestNamesOfOtherMachinesAreRefused(t *testing.T) {
	r, public, operations := startServe(t, newFake().deps(), "--drain-delay=0")
	for url, want := range map[string]int{public: http.StatusOK, operations: http.StatusMisdirectedRequest} {
		request, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = "attacker.example"
		response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: status %d, want %d", url, response.StatusCode, want)
		}
	}
	r.signal(t)
	r.wait(t)
}
