// Package attack does to a keytail binary, from outside, what clients without a key or with
// one token can do to harm others, and says what came of it. It compares binaries: what must
// hold is in the tests that docs/security.md names.
package attack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/keytail/keytail/bench/child"
	"github.com/keytail/keytail/internal/devmongo"
)

// Attack is one of the attacks.
type Attack struct {
	// Name says what is done, in the words of a table.
	Name string
	// Want is what comes of it at a daemon that is as it should be. Empty: the result has
	// durations.
	Want string
	run  func(ctx context.Context, t *target) (string, error)
}

// All are the attacks, in the order of the table.
var All = []Attack{
	{"400 idle clients, `ulimit -n 256`", "/livez 200, /readyz 200, admin 200, public 200", idleClients},
	{"one token opens 300 event streams", "256 opened; another token gets 200", allStreams},
	{"5,000 gRPC calls that are half sent, after 30 s", "0 of 5000 still open", halfCalls},
	{"1,500 TLS handshakes that fail: log lines", "1", badHandshakes},
	{"8 guesses of an admin token", "", guesses},
	{"100 clients that send a header byte by byte, after 8 s", "0 of 100 still open", slowHeaders},
	{"100 clients that send a body byte by byte, after 15 s", "0 of 100 still open", slowBodies},
	{"a web page by DNS rebinding: `Host: evil.example`", "/metrics 421, admin 421", rebinding},
	{"tokens over plain HTTP on 0.0.0.0: warnings at start", "1", plainTokens},
	{"gRPC reflection without a flag", "refused", reflection},
	{"a private key that every user can read", "does not start", readableKey},
	{"one token for callers and administrators", "does not start", sharedToken},
	{"`X-Content-Type-Options` of a response", "nosniff", sniffing},
}

// target is a binary, and a MongoDB for it.
type target struct {
	binary, uri, dir string
	started          int
}

// Run runs attacks against a binary, each against a process of its own, and returns what came
// of each. It calls done after each one.
func Run(ctx context.Context, attacks []Attack, binary, dir string, done func(a Attack, result string)) ([]string, error) {
	server, err := devmongo.New(devmongo.Config{Getenv: func(string) string { return "" }})
	if err != nil {
		return nil, err
	}
	serving, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- server.Run(serving) }()
	results, err := runAll(ctx, attacks, &target{binary: binary, uri: server.URI(), dir: dir}, done)
	stop()
	return results, errors.Join(err, <-ended)
}

func runAll(ctx context.Context, attacks []Attack, t *target, done func(a Attack, result string)) (results []string, err error) {
	for _, a := range attacks {
		result, err := a.run(ctx, t)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.Name, err)
		}
		results = append(results, result)
		done(a, result)
	}
	return results, nil
}

// config describes a new process.
func (t *target) config(args ...string) (child.Config, error) {
	t.started++
	dir := filepath.Join(t.dir, fmt.Sprint(t.started))
	return child.Config{Binary: t.binary, Dir: dir, URI: t.uri, Database: fmt.Sprint("attack_", t.started), Args: args}, os.Mkdir(dir, 0o700)
}

// with starts a process for an attack and stops it afterwards.
func (t *target) with(ctx context.Context, openFiles int, args []string, attack func(d *child.Daemon) (string, error)) (string, error) {
	c, err := t.config(args...)
	if err != nil {
		return "", err
	}
	c.OpenFiles = openFiles
	d, err := child.Start(ctx, c)
	if err != nil {
		return "", err
	}
	defer d.Kill()
	return attack(d)
}

// starts says whether a process starts with arguments that depend on its directory. If it
// does not, it must name the complaint.
func (t *target) starts(ctx context.Context, complaint string, args func(dir string) ([]string, error)) (string, error) {
	c, err := t.config()
	if err != nil {
		return "", err
	}
	if c.Args, err = args(c.Dir); err != nil {
		return "", err
	}
	d, err := child.Start(ctx, c)
	if err != nil {
		if !errors.Is(err, child.ErrExited) || !strings.Contains(err.Error(), complaint) {
			return "", err
		}
		return "does not start", nil
	}
	d.Kill()
	return "starts", nil
}

// patience is less than any limit of keytail, and long enough for a busy machine.
const patience = 4 * time.Second

// fresh is a client that opens a connection for each request.
func fresh() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
}

// get returns the status of a GET in words: that there was no answer is a result.
func get(ctx context.Context, url string, change func(*http.Request)) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	if change != nil {
		change(r)
	}
	response, err := fresh().Do(r)
	if err != nil {
		return "no answer", ctx.Err()
	}
	return fmt.Sprint(response.StatusCode), response.Body.Close()
}

// bearer sets a token.
func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

// statuses gets several URLs at the same time: "name status, name status".
func statuses(ctx context.Context, urls [][2]string, change func(*http.Request)) (string, error) {
	texts, errs := make([]string, len(urls)), make([]error, len(urls))
	var group sync.WaitGroup
	for i, u := range urls {
		group.Go(func() {
			var status string
			status, errs[i] = get(ctx, u[1], change)
			texts[i] = u[0] + " " + status
		})
	}
	group.Wait()
	return strings.Join(texts, ", "), errors.Join(errs...)
}
