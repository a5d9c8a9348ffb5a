//go:build linux

package examples_test

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// traefikConfig has the fields of Traefik's two files.
type traefikConfig struct {
	EntryPoints map[string]struct {
		Address string
		HTTP    struct {
			AliasHeadersStrategy string          `yaml:"aliasHeadersStrategy"`
			EncodedCharacters    map[string]bool `yaml:"encodedCharacters"`
		}
	} `yaml:"entryPoints"`
	Providers struct{ File struct{ Filename string } }
	HTTP      struct {
		Routers     map[string]traefikRouter
		Middlewares map[string]traefikMiddleware
		Services    map[string]struct {
			LoadBalancer struct{ Servers []struct{ URL string } } `yaml:"loadBalancer"`
		}
	}
}

type traefikRouter struct {
	EntryPoints []string `yaml:"entryPoints"`
	Rule        string
	Middlewares []string
	Service     string
}

type traefikMiddleware struct {
	Headers struct {
		CustomRequestHeaders map[string]string `yaml:"customRequestHeaders"`
	}
	ForwardAuth struct {
		Address             string
		AuthResponseHeaders []string `yaml:"authResponseHeaders"`
	} `yaml:"forwardAuth"`
}

// readTraefik reads both files. It fails on fields that the types above do not have, so
// that nothing in the files is untested.
func readTraefik(t *testing.T) traefikConfig {
	t.Helper()
	var config traefikConfig
	for _, name := range []string{"traefik.yml", "dynamic.yml"} {
		file, err := os.Open(filepath.Join("traefik", name))
		if err != nil {
			t.Fatal(err)
		}
		decoder := yaml.NewDecoder(file)
		decoder.KnownFields(true)
		if err := decoder.Decode(&config); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_ = file.Close()
	}
	return config
}

// TestTraefikFiles checks that each name in the files refers to a definition, and that the
// addresses are those that TestTraefikProtocol uses.
func TestTraefikFiles(t *testing.T) {
	config := readTraefik(t)
	if config.Providers.File.Filename != "dynamic.yml" || config.EntryPoints["web"].Address != "127.0.0.1:18580" {
		t.Errorf("unexpected static configuration: %+v", config)
	}
	if config.EntryPoints["web"].HTTP.AliasHeadersStrategy != "delete" || slices.Contains(slices.Collect(maps.Values(config.EntryPoints["web"].HTTP.EncodedCharacters)), true) {
		t.Errorf("ambiguous names or paths are allowed: %+v", config.EntryPoints["web"].HTTP)
	}
	if servers := config.HTTP.Services["api"].LoadBalancer.Servers; len(servers) != 1 || servers[0].URL != "http://"+upstreamAddr {
		t.Errorf("unexpected servers of the API: %+v", servers)
	}
	addresses := map[string]string{}
	for name, router := range config.HTTP.Routers {
		if !slices.Equal(router.EntryPoints, []string{"web"}) || router.Service != "api" || router.Rule != "PathPrefix(`/"+name+"/`)" {
			t.Errorf("unexpected router %s: %+v", name, router)
		}
		if len(router.Middlewares) < 2 || router.Middlewares[0] != "delete-identity" || router.Middlewares[len(router.Middlewares)-1] != "hide-key" {
			t.Errorf("the router %s lets forged headers or keys pass: %v", name, router.Middlewares)
		}
		for _, middleware := range router.Middlewares {
			if auth := config.HTTP.Middlewares[middleware].ForwardAuth; auth.Address != "" {
				addresses[name] = strings.TrimPrefix(auth.Address, "http://"+keytailAddr)
				if !slices.Equal(auth.AuthResponseHeaders, append(slices.Clone(identity), "X-Request-Id")) {
					t.Errorf("unexpected authResponseHeaders of %s: %v", middleware, auth.AuthResponseHeaders)
				}
			}
		}
	}
	if want := map[string]string{"orders": "/v1/auth?scope=orders:read", "acme": "/v1/auth/policy/acme"}; !maps.Equal(addresses, want) {
		t.Errorf("the addresses are %v, want %v", addresses, want)
	}
	removed := slices.Sorted(maps.Keys(config.HTTP.Middlewares["delete-identity"].Headers.CustomRequestHeaders))
	if want := slices.Sorted(slices.Values(append([]string{"X-Auth-Result", "X-Auth-Staleness-Ms", "X-Original-URL", "X-Rewrite-URL"}, identity...))); !slices.Equal(removed, want) {
		t.Errorf("the removed headers are %v, want %v", removed, want)
	}
}

// traefikAuthRequest returns the request that ForwardAuth sends for a client's request,
// according to Traefik's documentation: a GET of the configured address with the client's
// headers, without hop-by-hop headers. X-Forwarded-* headers describe the client's request
// and replace the client's own (trustForwardHeader is off).
func traefikAuthRequest(ctx context.Context, t *testing.T, address string, a request) *http.Request {
	t.Helper()
	authRequest, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range a.header {
		authRequest.Header.Add(f.Name, f.Value)
	}
	for _, name := range []string{"Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
		authRequest.Header.Del(name)
	}
	method := a.method
	if method == "" {
		method = http.MethodGet
	}
	for name, value := range map[string]string{
		"Method": method, "Proto": "http", "Host": "127.0.0.1:18580", "Uri": a.target, "For": clientAddr,
	} {
		authRequest.Header.Set("X-Forwarded-"+name, value)
	}
	return authRequest
}

// TestTraefikProtocol sends the documented requests to a real daemon, because no binary of
// Traefik is available. Traefik passes every response other than 2xx to the client
// unchanged, so these are the responses that a client gets.
func TestTraefikProtocol(t *testing.T) {
	config := readTraefik(t)
	lockAddresses(t)
	s := &stage{t: t, dir: workDir(t), proxy: proxy{name: "traefik's forward-auth requests"}}
	s.keytail, s.keys = startKeytail(t, s.dir)
	respond := func(t *testing.T, a request) *reply {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
		defer cancel()
		prefix, _, _ := strings.Cut(strings.TrimPrefix(a.target, "/"), "/")
		authRequest := traefikAuthRequest(ctx, t, config.HTTP.Middlewares["keytail-"+prefix].ForwardAuth.Address, a)
		response, err := http.DefaultTransport.RoundTrip(authRequest)
		if err != nil {
			t.Fatal(err)
		}
		return readReply(t, response)
	}
	for _, c := range slices.Concat(refusals(s.keys), requirements(s.keys), requestForms(s.keys), identities(s.keys)) {
		prefix, _, _ := strings.Cut(strings.TrimPrefix(c.request.target, "/"), "/")
		_, hasCheck := config.HTTP.Middlewares["keytail-"+prefix]
		if !hasCheck || c.want.either || c.request.from != "" || c.want.code == "" && !c.want.reached {
			continue // the proxy decides this case
		}
		t.Run(c.name, func(t *testing.T) {
			r := respond(t, c.request)
			c.want.compare(t, c.request, r, make([]received, btoi(r.status == http.StatusOK)))
			if r.status != http.StatusOK {
				return
			}
			for _, name := range config.HTTP.Middlewares["keytail-"+prefix].ForwardAuth.AuthResponseHeaders {
				if len(r.header.Values(name)) != 1 {
					t.Errorf("the response has %s %d times, want once: Traefik replaces the client's header only if the response has it", name, len(r.header.Values(name)))
				}
			}
			if r.body != "" {
				t.Errorf("an allowed request got the body %q", r.body)
			}
		})
	}
	t.Run("keytail has lost MongoDB", func(t *testing.T) {
		s.keytail.loseMongoDB()
		a := request{target: "/orders/1", header: []field{bearer(s.keys["valid"])}}
		refused("UNAVAILABLE").compare(t, a, respond(t, a), nil)
	})
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestPolicyPathIsNotNormalized sends paths to the daemon that a proxy might pass
// unchanged. The name of the policy is the segment after policy/; no dot segment, query or
// encoding in a client's path can change it.
func TestPolicyPathIsNotNormalized(t *testing.T) {
	lockAddresses(t)
	dir := workDir(t)
	_, keys := startKeytail(t, dir)
	// scoped lacks the scope of both. elsewhere is bound to another project than acme names;
	// orders names none. local meets both.
	for target, want := range map[string]map[string]int{
		"/v1/auth/policy/orders":                                             {"scoped": 403, "elsewhere": 200, "local": 200},
		"/v1/auth/policy/acme":                                               {"scoped": 403, "elsewhere": 403, "local": 200},
		"/v1/auth/policy/orders/../acme":                                     {"elsewhere": 200, "local": 200},
		"/v1/auth/policy/acme/../orders":                                     {"elsewhere": 403},
		"/v1/auth/policy/orders/..%2facme":                                   {"elsewhere": 200, "local": 200},
		"/v1/auth/policy/orders/../../../v1/auth":                            {"scoped": 403, "elsewhere": 200},
		"/v1/auth/policy/orders?scope=reports:read":                          {"scoped": 403},
		"/v1/auth/policy/orders/?org_id=org_acme&project_id=project_staging": {"elsewhere": 200},
		"/v1/auth/policy/orders%2f..%2facme":                                 {"local": 404, "elsewhere": 404},
		"/v1/auth/policy/%6frders":                                           {"local": 404},
		"/v1/auth/policy/../policy/orders":                                   {"local": 404},
		"/v1/auth/policy//orders":                                            {"local": 404},
		"/v1/auth/policy/":                                                   {"local": 404},
		"/v1/auth/../auth":                                                   {"local": 404},
		"//v1/auth":                                                          {"local": 404},
		"/v1/auth/":                                                          {"local": 404},
		"/v1//auth":                                                          {"local": 404},
		"/v1/%61uth":                                                         {"local": 404},
	} {
		for key, status := range want {
			t.Run(url.PathEscape(target)+" "+key, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
				defer cancel()
				conn, err := dialFrom(ctx, clientAddr, keytailAddr)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = conn.Close() }()
				r := overHTTP1(ctx, t, conn, keytailAddr, request{method: http.MethodGet, target: target, header: []field{bearer(keys[key])}})
				if r.status != status {
					t.Errorf("got %d %v %s, want %d", r.status, r.header, r.body, status)
				}
			})
		}
	}
}
