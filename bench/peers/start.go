package peers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/keytail/keytail/internal/testprogram"
)

// Program is a running program.
type Program struct {
	*testprogram.Process
	// Address is where it listens.
	Address string
}

// startTimeout is for a busy machine: the slowest program needs some seconds.
const startTimeout = time.Minute

// Starter starts programs. Each has a directory of its own below Dir.
type Starter struct {
	Dir     string
	running []*Program
}

// Stop ends all programs.
func (s *Starter) Stop() {
	for _, p := range s.running {
		p.stop()
	}
}

// stop ends the program with SIGTERM, so that nginx ends its worker, and with SIGKILL if it
// is still there after a while.
func (p *Program) stop() {
	if p.Signal(syscall.SIGTERM) == nil {
		select {
		case <-p.Done():
		case <-time.After(5 * time.Second):
		}
	}
	p.Kill()
}

// Start starts a program and returns when it accepts connections at the address.
func (s *Starter) Start(ctx context.Context, name, address, program string, args ...string) (*Program, error) {
	dir, err := s.directory(name)
	if err != nil {
		return nil, err
	}
	process, err := testprogram.Start(program, args, dir)
	if err != nil {
		return nil, err
	}
	p := &Program{process, address}
	s.running = append(s.running, p)
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	listener, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, err
	}
	if err := p.AwaitPort(ctx, listener.Port); err != nil {
		return nil, fmt.Errorf("%s: %w; its log ends with:\n%s", name, err, p.LogTail())
	}
	return p, nil
}

// directory makes the directory of a program.
func (s *Starter) directory(name string) (string, error) {
	dir := filepath.Join(s.Dir, name)
	return dir, os.MkdirAll(dir, 0o700)
}

// OAuth2Proxy starts oauth2-proxy, which accepts the issuer's tokens at /oauth2/auth.
func (s *Starter) OAuth2Proxy(ctx context.Context, name, program, address string, issuer *Issuer) (*Program, error) {
	dir, err := s.directory(name)
	if err != nil {
		return nil, err
	}
	key, err := issuer.PublicKey()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "issuer.pem")
	if err := os.WriteFile(file, key, 0o600); err != nil {
		return nil, err
	}
	return s.Start(ctx, name, address, program,
		"--http-address="+address, "--provider=oidc", "--oidc-issuer-url="+issuer.URL, "--client-id="+issuer.Audience,
		"--skip-oidc-discovery", "--oidc-public-key-file="+file, "--login-url="+issuer.URL+"/login", "--redeem-url="+issuer.URL+"/token",
		"--skip-jwt-bearer-tokens", "--email-domain=*", "--upstream=static://202",
		"--client-secret=unused", "--cookie-secret="+rand.Text()[:16],
		"--request-logging=false", "--auth-logging=false", "--standard-logging=false")
}

// Oathkeeper starts Oathkeeper, which introspects each token at introspection, and keeps the
// results for ttl. Zero: it does not.
func (s *Starter) Oathkeeper(ctx context.Context, name, program string, addresses []string, introspection string, ttl time.Duration) (*Program, error) {
	dir, err := s.directory(name)
	if err != nil {
		return nil, err
	}
	config := oathkeeper{
		Dir: dir, Listen: addresses[0], Proxy: addresses[1], Metrics: addresses[2],
		Introspection: introspection, Cache: ttl > 0, TTL: ttl.String(),
	}
	_, err = render(dir, "oathkeeper-rules.json", nil)
	if err != nil {
		return nil, err
	}
	file, err := render(dir, "oathkeeper.yaml", config)
	if err != nil {
		return nil, err
	}
	return s.Start(ctx, name, addresses[0], program, "serve", "--config", file)
}

// kubeconfig names an API server, for programs that read KUBECONFIG.
const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: bench, cluster: {server: "http://%s"}}]
users: [{name: bench}]
contexts: [{name: bench, context: {cluster: bench, user: bench}}]
current-context: bench
`

// Authorino starts Authorino with the Kubernetes API at an address, and returns when it
// accepts the key. The addresses are those of its HTTP and gRPC interfaces and of its
// metrics, health, webhook and OpenID listeners.
func (s *Starter) Authorino(ctx context.Context, name, program string, addresses []string, kubernetes, key string) (*Program, error) {
	dir, err := s.directory(name)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(file, fmt.Appendf(nil, kubeconfig, kubernetes), 0o600); err != nil {
		return nil, err
	}
	port := func(i int) string { return addresses[i][strings.LastIndexByte(addresses[i], ':')+1:] }
	p, err := s.Start(ctx, name, addresses[0], "/usr/bin/env", "KUBECONFIG="+file, program, "server",
		"--watch-namespace=default", "--log-level=error",
		"--ext-auth-http-port="+port(0), "--ext-auth-grpc-port="+port(1), "--metrics-addr="+addresses[2],
		"--health-probe-addr="+addresses[3], "--webhook-service-port="+port(4), "--oidc-http-port="+port(5))
	if err != nil {
		return nil, err
	}
	return p, p.awaitCheck(ctx, "http://"+addresses[0]+"/check", "api.example", key)
}

// awaitCheck returns when the service accepts a key.
func (p *Program) awaitCheck(ctx context.Context, url, host, key string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		r.Host = host
		r.Header.Set("Authorization", "Bearer "+key)
		last := errors.New("no response")
		if response, err := http.DefaultClient.Do(r); err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
			last = errors.New(response.Status)
		}
		select {
		case <-ticker.C:
		case <-p.Done():
			return fmt.Errorf("%w; its log ends with:\n%s", testprogram.ErrExited, p.LogTail())
		case <-ctx.Done():
			return fmt.Errorf("it accepts no key (%w); its log ends with:\n%s", last, p.LogTail())
		}
	}
}

// Nginx starts nginx in front of the services, with one worker.
func (s *Starter) Nginx(ctx context.Context, program string, services []Service) (*Program, error) {
	return s.proxy(ctx, "nginx", "nginx.conf", services, func(config, dir string) (string, []string) {
		return program, []string{"-c", config, "-p", dir, "-e", filepath.Join(dir, "error.log")}
	})
}

// Envoy starts Envoy in front of the services, with one worker.
func (s *Starter) Envoy(ctx context.Context, program string, services []Service) (*Program, error) {
	return s.proxy(ctx, "envoy", "envoy.yaml", services, func(config, _ string) (string, []string) {
		return program, []string{"-c", config, "--concurrency", "1", "--use-dynamic-base-id", "-l", "error"}
	})
}

func (s *Starter) proxy(ctx context.Context, name, config string, services []Service, command func(config, dir string) (string, []string)) (*Program, error) {
	dir, err := s.directory(name)
	if err != nil {
		return nil, err
	}
	file, err := render(dir, config, proxyConfig{dir, services})
	if err != nil {
		return nil, err
	}
	program, args := command(file, dir)
	// The last listener is open when all are.
	return s.Start(ctx, name, services[len(services)-1].Listen, program, args...)
}
