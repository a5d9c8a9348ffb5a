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

// traefikConfig is what the test needs of Traefik's two files.
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

// readTraefik reads both files. A field that the types above do not have is a
// mistake: nothing here may go untested.
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

// TestTraefikFiles: each name in the files is that of something, and the
// addresses are those that TestTraefikProtocol asks.
func TestTraefikFiles(t *testing.T) {
	config := readTraefik(t)
	if config.Providers.File.Filename != "dynamic.yml" || config.EntryPoints["web"].Address != "127.0.0.1:18580" {
		t.Errorf("the static file: %+v", config)
	}
	if config.EntryPoints["web"].HTTP.AliasHeadersStrategy != "delete" || slices.Contains(slices.Collect(maps.Values(config.EntryPoints["web"].HTTP.EncodedCharacters)), true) {
		t.Errorf("names or paths with two meanings get by: %+v", config.EntryPoints["web"].HTTP)
	}
	if servers := config.HTTP.Services["api"].LoadBalancer.Servers; len(servers) != 1 || servers[0].URL != "http://"+upstreamAddr {
		t.Errorf("the API is at %+v", servers)
	}
	asked := map[string]string{}
	for name, router := range config.HTTP.Routers {
		if !slices.Equal(router.EntryPoints, []string{"web"}) || router.Service != "api" || router.Rule != "PathPrefix(`/"+name+"/`)" {
			t.Errorf("the router %s: %+v", name, router)
		}
		if len(router.Middlewares) < 2 || router.Middlewares[0] != "nothing-forged" || router.Middlewares[len(router.Middlewares)-1] != "no-key" {
			t.Errorf("the router %s lets forged names or keys by: %v", name, router.Middlewares)
		}
		for _, middleware := range router.Middlewares {
			if auth := config.HTTP.Middlewares[middleware].ForwardAuth; auth.Address != "" {
				asked[name] = strings.TrimPrefix(auth.Address, "http://"+keytailAddr)
				if !slices.Equal(auth.AuthResponseHeaders, append(slices.Clone(identity), "X-Request-Id")) {
					t.Errorf("%s copies %v", middleware, auth.AuthResponseHeaders)
				}
			}
		}
	}
	if want := map[string]string{"orders": "/v1/auth?scope=orders:read", "acme": "/v1/auth/policy/acme"}; !maps.Equal(asked, want) {
		t.Errorf("asked are %v, want %v", asked, want)
	}
	removed := slices.Sorted(maps.Keys(config.HTTP.Middlewares["nothing-forged"].Headers.CustomRequestHeaders))
	if want := slices.Sorted(slices.Values(append([]string{"X-Auth-Result", "X-Auth-Staleness-Ms", "X-Original-URL", "X-Rewrite-URL"}, identity...))); !slices.Equal(removed, want) {
		t.Errorf("removed are %v, want %v", removed, want)
	}
}

// traefikQuestion is what Traefik's documentation says that ForwardAuth sends for
// a client's request: a GET of the address as it is configured, with the client's
// headers but those that are for one connection only, and the request described
// in X-Forwarded-*, where the client's own are replaced (trustForwardHeader is
// off).
func traefikQuestion(ctx context.Context, t *testing.T, address string, a ask) *http.Request {
	t.Helper()
	question, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range a.header {
		question.Header.Add(f.Name, f.Value)
	}
	for _, name := range []string{"Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
		question.Header.Del(name)
	}
	method := a.method
	if method == "" {
		method = http.MethodGet
	}
	for name, value := range map[string]string{
		"Method": method, "Proto": "http", "Host": "127.0.0.1:18580", "Uri": a.target, "For": clientAddr,
	} {
		question.Header.Set("X-Forwarded-"+name, value)
	}
	return question
}

// TestTraefikProtocol sends the documented questions to a real daemon, since no
// binary of Traefik is to be had. Traefik passes what is not 2xx on to the client
// as it is, so the answers here are what a client sees.
func TestTraefikProtocol(t *testing.T) {
	config := readTraefik(t)
	lockAddresses(t)
	s := &stage{t: t, dir: workDir(t), proxy: proxy{name: "traefik's questions"}}
	s.keytail, s.keys = startKeytail(t, s.dir)
	answer := func(t *testing.T, a ask) *reply {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		prefix, _, _ := strings.Cut(strings.TrimPrefix(a.target, "/"), "/")
		question := traefikQuestion(ctx, t, config.HTTP.Middlewares["keytail-"+prefix].ForwardAuth.Address, a)
		response, err := http.DefaultTransport.RoundTrip(question)
		if err != nil {
			t.Fatal(err)
		}
		return readReply(t, response)
	}
	for _, c := range slices.Concat(refusals(s.keys), requirements(s.keys), shapes(s.keys), identities(s.keys)) {
		prefix, _, _ := strings.Cut(strings.TrimPrefix(c.ask.target, "/"), "/")
		_, aboutKeytail := config.HTTP.Middlewares["keytail-"+prefix]
		if !aboutKeytail || c.want.either || c.ask.from != "" || c.want.code == "" && !c.want.reached {
			continue // what the proxy itself decides
		}
		t.Run(c.name, func(t *testing.T) {
			r := answer(t, c.ask)
			c.want.compare(t, c.ask, r, make([]received, btoi(r.status == http.StatusOK)))
			if r.status != http.StatusOK {
				return
			}
			for _, name := range config.HTTP.Middlewares["keytail-"+prefix].ForwardAuth.AuthResponseHeaders {
				if len(r.header.Values(name)) != 1 {
					t.Errorf("%s is there %d times: Traefik puts it in the place of the client's only if it is", name, len(r.header.Values(name)))
				}
			}
			if r.body != "" {
				t.Errorf("a yes has the body %q", r.body)
			}
		})
	}
	t.Run("keytail does not know", func(t *testing.T) {
		s.keytail.goBlind()
		a := ask{target: "/orders/1", header: []field{bearer(s.keys["valid"])}}
		refused("UNAVAILABLE").compare(t, a, answer(t, a), nil)
	})
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestPolicyPathIsMatchedAsItCame asks the daemon itself, with paths that a proxy
// might send as they came: the name is what stands after policy/, and no step,
// query or escape of a client changes it.
func TestPolicyPathIsMatchedAsItCame(t *testing.T) {
	lockAddresses(t)
	dir := workDir(t)
	_, keys := startKeytail(t, dir)
	// scoped may not do what orders needs; project may do what acme needs, and is
	// refused by orders, which names no organisation; local may do both.
	for target, want := range map[string]map[string]int{
		"/v1/auth/policy/orders":                                             {"scoped": 403, "project": 403, "local": 200},
		"/v1/auth/policy/acme":                                               {"scoped": 403, "project": 200, "local": 200},
		"/v1/auth/policy/orders/../acme":                                     {"project": 403, "local": 200},
		"/v1/auth/policy/acme/../orders":                                     {"project": 200},
		"/v1/auth/policy/orders/..%2facme":                                   {"project": 403, "local": 200},
		"/v1/auth/policy/orders/../../../v1/auth":                            {"scoped": 403, "project": 403},
		"/v1/auth/policy/orders?scope=reports:read":                          {"scoped": 403},
		"/v1/auth/policy/orders/?org_id=org_acme&project_id=project_staging": {"project": 403},
		"/v1/auth/policy/orders%2f..%2facme":                                 {"local": 404, "project": 404},
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
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				conn, err := dialFrom(ctx, clientAddr, keytailAddr)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = conn.Close() }()
				r := overHTTP1(ctx, t, conn, keytailAddr, ask{method: http.MethodGet, target: target, header: []field{bearer(keys[key])}})
				if r.status != status {
					t.Errorf("%d %v %s, want %d", r.status, r.header, r.body, status)
				}
			})
		}
	}
}
