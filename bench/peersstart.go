package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/keytail/keytail/bench/peers"
	"github.com/keytail/keytail/internal/proxytest"
	"github.com/keytail/keytail/internal/testprogram"
)

// program returns the path of a peer, or the reason why it is not available.
func (f *peerFleet) program(ctx context.Context, e *env, m peers.Module) (path, reason string) {
	e.progress("%s %s", m.Name, m.Version)
	path, err := m.Build(ctx, f.programs)
	if err != nil {
		e.progress("%v", err)
		first, _, _ := strings.Cut(err.Error(), "\n")
		return "", "not available here: " + first
	}
	f.versions = append(f.versions, m.Name+" "+m.Version)
	return path, ""
}

func (f *peerFleet) startOAuth2Proxy(ctx context.Context, e *env) error {
	const name = "nginx, oauth2-proxy"
	program, reason := f.program(ctx, e, peers.OAuth2Proxy)
	if reason != "" {
		f.skip(name, aboutOAuth2Proxy, reason)
		return nil
	}
	issuer, err := peers.NewIssuer("http://issuer.example", "api")
	if err != nil {
		return err
	}
	var tokens []string
	for i := range f.collection.size {
		token, err := issuer.Token(i, 24*time.Hour)
		if err != nil {
			return err
		}
		tokens = append(tokens, token)
	}
	file, err := f.writeTokens("tokens", tokens)
	if err != nil {
		return err
	}
	ports, err := freePorts(ctx, 1)
	if err != nil {
		return err
	}
	p, err := f.OAuth2Proxy(ctx, "oauth2-proxy", program, ports[0], issuer)
	if err != nil {
		return err
	}
	f.viaNginx(peerSide{name: name, about: aboutOAuth2Proxy, service: []int{p.Pid()}, tokens: file}, peers.Service{Address: p.Address, Path: "/oauth2/auth"})
	return nil
}

// startOathkeeper starts Oathkeeper without and with its cache of introspections.
func (f *peerFleet) startOathkeeper(ctx context.Context, e *env) error {
	const name = "nginx, Oathkeeper, introspection"
	program, reason := f.program(ctx, e, peers.Oathkeeper)
	if reason != "" {
		f.skip(name, aboutOathkeeper, reason)
		return nil
	}
	uri, err := e.mongoURI()
	if err != nil {
		return err
	}
	introspection, err := f.serve(ctx, "introspection", "--uri="+uri, "--database="+f.collection.Database().Name(), "--collection="+f.collection.Name())
	if err != nil {
		return err
	}
	behind := append([]int{introspection.Pid()}, f.database...)
	for _, ttl := range []time.Duration{0, oathkeeperTTL} {
		side := peerSide{name: name + " for each request", about: aboutOathkeeper, behind: behind, inMongoDB: true}
		if ttl > 0 {
			side.name, side.about = fmt.Sprintf("%s cached for %v", name, ttl), aboutOathkeeperCache
		}
		ports, err := freePorts(ctx, 3)
		if err != nil {
			return err
		}
		p, err := f.Oathkeeper(ctx, fmt.Sprint("oathkeeper", ttl), program, ports, introspection.Address, ttl)
		if err != nil {
			return err
		}
		side.service = []int{p.Pid()}
		f.revokeInMongoDB(f.viaNginx(side, peers.Service{Address: p.Address, Path: "/decisions/api", Headers: []string{"X-Forwarded-Host api.example"}}), ttl)
	}
	return nil
}

// startAuthorino starts Authorino once for nginx and once for Envoy.
func (f *peerFleet) startAuthorino(ctx context.Context, e *env) error {
	names := []string{"nginx, Authorino over HTTP", "Envoy, Authorino over gRPC"}
	program, reason := f.program(ctx, e, peers.Authorino)
	if reason != "" {
		for _, name := range names {
			f.skip(name, aboutAuthorino, reason)
		}
		return nil
	}
	kubernetes, err := peers.NewKubernetes(f.collection.keys)
	if err != nil {
		return err
	}
	api, stop, err := listen(ctx, kubernetes)
	if err != nil {
		return err
	}
	f.stops = append(f.stops, stop)
	deleteSecret := func(_ context.Context, i int) error { return kubernetes.DeleteSecret(i) }
	for i, name := range names {
		ports, err := freePorts(ctx, 6)
		if err != nil {
			return err
		}
		p, err := f.Authorino(ctx, fmt.Sprint("authorino", i), program, ports, api, f.collection.keys[0])
		if err != nil {
			return err
		}
		side := peerSide{name: name, about: aboutAuthorino, service: []int{p.Pid()}}
		if i == 0 {
			f.revoke(f.viaNginx(side, peers.Service{Address: ports[0], Path: "/check", Headers: []string{"Host api.example"}}), 0, deleteSecret)
			continue
		}
		f.revoke(f.viaEnvoy(side, peers.Service{Address: ports[1], Context: "host: api.example"}), 0, deleteSecret)
	}
	return nil
}

// startProxies starts nginx and Envoy in front of their services.
func (f *peerFleet) startProxies(ctx context.Context) error {
	nginx, err := testprogram.Find(proxytest.NginxProgram())
	if err != nil {
		return err
	}
	envoy, err := testprogram.Find(proxytest.EnvoyProgram())
	if err != nil {
		return err
	}
	return errors.Join(
		f.startProxy(ctx, "nginx", nginx, "-v", f.nginx, f.Nginx),
		f.startProxy(ctx, "Envoy", envoy, "--version", f.envoy, f.Envoy))
}

// startProxy starts one proxy, and gives its sides their address and its process.
func (f *peerFleet) startProxy(ctx context.Context, name, program, flag string, sides []*peerSide, start func(context.Context, string, []peers.Service) (*peers.Program, error)) error {
	version, err := versionOf(ctx, program, flag)
	if err != nil {
		return err
	}
	f.versions = append(f.versions, name+" "+version)
	ports, err := freePorts(ctx, len(sides))
	if err != nil {
		return err
	}
	var services []peers.Service
	for i, side := range sides {
		side.upstream.Name, side.upstream.Listen = fmt.Sprint("side", i), ports[i]
		services = append(services, side.upstream)
	}
	p, err := start(ctx, program, services)
	if err != nil {
		return err
	}
	for i, side := range sides {
		side.proxy = []int{p.Pid()}
		if side.address = ports[i]; side.revocation != nil {
			side.revocation.Address = ports[i]
		}
	}
	return nil
}

// release is a version in the output of a proxy.
var release = regexp.MustCompile(`[0-9]+\.[0-9]+\.[0-9]+`)

// versionOf returns the release that a proxy prints.
func versionOf(ctx context.Context, program, flag string) (string, error) {
	text, err := exec.CommandContext(ctx, program, flag).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w", filepath.Base(program), err)
	}
	return release.FindString(string(text)), nil
}
