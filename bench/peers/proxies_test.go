package peers

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/keytail/keytail/internal/proxytest"
)

const good = "good"

// ask sends one request with a key through a proxy.
func ask(t *testing.T, address, key string) bool {
	t.Helper()
	a := asker{client: http.DefaultClient, address: address, key: key}
	accepted, err := a.ask(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return accepted
}

// checkSides checks that the proxy asks the service of the second side, and none for the
// first.
func checkSides(t *testing.T, services []Service) {
	t.Helper()
	for i, want := range []map[string]bool{{good: true, "bad": true}, {good: true, "bad": false}} {
		for key, accepted := range want {
			if got := ask(t, services[i].Listen, key); got != accepted {
				t.Errorf("side %d, key %q: accepted is %v, want %v", i, key, got, accepted)
			}
		}
	}
}

// freeAddresses returns addresses that were free a moment ago.
func freeAddresses(t *testing.T, n int) []string {
	t.Helper()
	var all []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		all = append(all, l.Addr().String())
	}
	return all
}

func TestNginxPassesWhatTheServiceAccepts(t *testing.T) {
	nginx := proxytest.Nginx(t)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "api.example" || r.URL.String() != "/check?scope=a" || r.Header.Get("Authorization") != "Bearer "+good {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	overTCP := httptest.NewServer(handler)
	defer overTCP.Close()
	socket := t.TempDir() + "/s"
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	overUnix := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler}}
	overUnix.Start()
	defer overUnix.Close()
	for _, address := range []string{overTCP.Listener.Addr().String(), "unix:" + socket} {
		starter := Starter{Dir: t.TempDir()}
		defer starter.Stop()
		free := freeAddresses(t, 2)
		services := []Service{
			{Name: "alone", Listen: free[0]},
			{Name: "service", Listen: free[1], Address: address, Path: "/check?scope=a", Headers: []string{"Host api.example"}},
		}
		p, err := starter.Nginx(t.Context(), nginx, services)
		if err != nil {
			t.Fatal(err)
		}
		checkSides(t, services)
		checkWorkerIsCounted(t, p)
	}
}

// checkWorkerIsCounted checks that the memory of nginx is that of two processes.
func checkWorkerIsCounted(t *testing.T, p *Program) {
	t.Helper()
	both, err := UsageOf(p.Pid())
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(processFile(p.Pid(), "status"))
	if err != nil {
		t.Fatal(err)
	}
	if master, err := peakOf(string(text)); err != nil || both.Peak <= master {
		t.Errorf("nginx has %d bytes, its master %d (%v): want the worker's, too", both.Peak, master, err)
	}
}

// checker accepts the good key for a context.
type checker struct {
	authv3.UnimplementedAuthorizationServer
}

func (checker) Check(_ context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	attributes := r.GetAttributes()
	if attributes.GetContextExtensions()["scope"] == "a" && attributes.GetRequest().GetHttp().GetHeaders()["authorization"] == "Bearer "+good {
		return &authv3.CheckResponse{}, nil
	}
	return &authv3.CheckResponse{Status: &status.Status{Code: int32(codes.PermissionDenied)}}, nil
}

func TestEnvoyPassesWhatTheServiceAccepts(t *testing.T) {
	envoy := proxytest.Envoy(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, checker{})
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	starter := Starter{Dir: t.TempDir()}
	defer starter.Stop()
	free := freeAddresses(t, 2)
	services := []Service{
		{Name: "alone", Listen: free[0]},
		{Name: "service", Listen: free[1], Address: listener.Addr().String(), Context: "scope: a"},
	}
	if _, err := starter.Envoy(t.Context(), envoy, services); err != nil {
		t.Fatal(err)
	}
	checkSides(t, services)
}

func TestProxyThatCannotStartReportsTheReason(t *testing.T) {
	starter := Starter{Dir: t.TempDir()}
	defer starter.Stop()
	service := Service{Name: "two words", Listen: freeAddresses(t, 1)[0], Address: "127.0.0.1:1", Path: "/"}
	_, err := starter.Nginx(t.Context(), proxytest.Nginx(t), []Service{service})
	if err == nil || !strings.Contains(err.Error(), "[emerg]") {
		t.Errorf("got %v, want nginx's own error", err)
	}
}

func TestOathkeeperConfigurationHasItsCacheOnlyWithATTL(t *testing.T) {
	for _, cache := range []bool{false, true} {
		file, err := render(t.TempDir(), "oathkeeper.yaml", oathkeeper{
			Dir: "/dir", Listen: "127.0.0.1:1", Proxy: "127.0.0.1:2", Metrics: "127.0.0.1:3", Introspection: "127.0.0.1:4", Cache: cache, TTL: "5s",
		})
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("cache: {enabled: %v}", cache)
		if cache {
			want = "cache: {enabled: true, ttl: 5s}"
		}
		if !strings.Contains(string(text), want) || !strings.Contains(string(text), "port: 1}") {
			t.Errorf("the file has no %q:\n%s", want, text)
		}
	}
}
