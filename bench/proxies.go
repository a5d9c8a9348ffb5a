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
	"github.com/keytail/keytail/internal/proxytest"
	"github.com/keytail/keytail/internal/testprogram"
)

var proxiesRow = row{
	name:         "proxies",
	title:        "key checks in nginx and Envoy",
	measures:     "a request through a proxy to an API that does nothing: without a key check, with a table of 1,000 keys inside the proxy, and with keytail",
	comparedWith: "the key checks that proxies have without keytail: a Lua table in nginx, and Envoy's api_key_auth. Their keys change only with a reload of the proxy",
	goals:        "none; the figures are reported",
	run:          measureProxies,
}

// noCheck is part of the name of a side without a key check.
const noCheck = "no key check"

//go:embed proxies
var proxyConfigs embed.FS

// proxySide is one configuration of a proxy.
type proxySide struct {
	name, path string
	*generator
	// open reports whether the proxy allows every request.
	open  bool
	loads []*load
}

// check sends a malformed key and expects a refusal: a configuration that allows every
// request would be the fastest. An unknown key would need a database, which is not here.
func (s *proxySide) check(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+s.path, nil)
	if err != nil {
		return err
	}
	r.Header.Set("X-Api-Key", "short")
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	want := http.StatusUnauthorized
	if s.open {
		want = http.StatusOK
	}
	if response.StatusCode != want {
		return fmt.Errorf("a malformed key got status %d, want %d", response.StatusCode, want)
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
		if err := begin(ctx, e); errors.Is(err, testprogram.ErrMissing) {
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
			// Each round starts with another side.
			side := p.sides[(n+round)%len(p.sides)]
			got, err := side.run(ctx, e.duration(2*time.Second))
			if err != nil {
				return fmt.Errorf("%s: %w", side.name, err)
			}
			side.loads = append(side.loads, got)
			e.progress("%s: %.0f requests per second", side.name, got.perSecond)
		}
	}
	var names []string
	var loads [][]*load
	for _, side := range p.sides {
		names, loads = append(names, side.name), append(loads, side.loads)
	}
	r.table(loadTable("16 connections; medians of the rounds", names, loads))
	r.note("Versions: " + strings.Join(p.versions, ", ") + ".")
	r.note("A table in a proxy contains only the keys: it has no scopes and no expiry, and a revocation needs a reload. Each proxy has one worker and shares the cores with keytail, the API and the load generator.")
	return nil
}

// proxies are an API, keytail, and the proxies in front of them.
type proxies struct {
	keys         []string
	api, keytail string
	sides        []*proxySide
	versions     []string
	stops        []func()
}

// version records the version that a program prints.
func (p *proxies) version(ctx context.Context, name, program, flag string) error {
	version, err := versionOf(ctx, program, flag)
	p.versions = append(p.versions, name+" "+version)
	return err
}

func newProxies(ctx context.Context, e *env) (*proxies, error) {
	p := &proxies{}
	var err error
	if p.keys, err = generateKeys(e.size(1000, 20)); err != nil {
		return nil, err
	}
	public, err := newPublicHandler(p.keys, forwardauth.Config{Policies: map[string]forwardauth.Policy{"acme": {Scopes: []string{"orders:read"}, OrgID: "acme"}}})
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
	return p, p.side("keytail without a proxy, /v1/auth", p.keytail, "/v1/auth?scope=orders:read&org_id=acme")
}

func (p *proxies) stop() {
	for _, stop := range p.stops {
		stop()
	}
}

// side adds a side to the comparison.
func (p *proxies) side(name, address, path string) error {
	g := &generator{address: address, connections: 16, status: http.StatusOK}
	for _, key := range p.keys {
		r, err := http.NewRequest(http.MethodGet, "http://"+address+path, nil) //nolint:noctx // it is only encoded, never sent
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
	p.sides = append(p.sides, &proxySide{name: name, path: path, generator: g, open: strings.Contains(name, noCheck)})
	return nil
}

// luaModules is Debian's directory of nginx modules.
const luaModules = "/usr/lib/nginx/modules"

func (p *proxies) nginx(ctx context.Context, e *env) error {
	program, err := testprogram.Find(proxytest.NginxProgram())
	if err != nil {
		return err
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
	err = errors.Join(p.side("nginx, "+noCheck, ports[0], "/"), p.side("nginx, keytail with auth_request", ports[2], "/"))
	if missing != nil {
		return errors.Join(err, fmt.Errorf("%w: nginx with Lua (apt-get install libnginx-mod-http-lua)", testprogram.ErrMissing))
	}
	return errors.Join(err, p.side("nginx, Lua table", ports[1], "/"))
}

func (p *proxies) envoy(ctx context.Context, e *env) error {
	program, err := testprogram.Find(proxytest.EnvoyProgram())
	if err != nil {
		return err
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
		p.side("Envoy, "+noCheck, ports[0], "/"),
		p.side("Envoy, api_key_auth", ports[1], "/"),
		p.side("Envoy, keytail with ext_authz over HTTP", ports[2], "/"),
	)
}

// render executes the template of a configuration and returns its path.
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
			return fmt.Errorf("%s exited: %s", filepath.Base(program), output.String())
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s does not listen after 30 s", filepath.Base(program))
}

// freePorts returns addresses that were free a moment ago.
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
