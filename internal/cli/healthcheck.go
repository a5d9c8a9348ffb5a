package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/keytail/keytail/internal/config"
)

// healthcheckTimeout is under the 5 s that the Dockerfile gives the whole
// command.
const healthcheckTimeout = 3 * time.Second

type healthcheckCommand struct {
	OpsAddr string `default:"127.0.0.1:9090" help:"The operations listener of the keytail to ask, as serve was given it."`
	URL     string `name:"url" env:"-" placeholder:"URL" help:"Ask this address instead, such as http://127.0.0.1:9090/readyz."`
	File    string `name:"config" placeholder:"FILE" help:"The YAML file that serve was given."`
}

func (c healthcheckCommand) run(ctx context.Context, stderr io.Writer, wrong error) int {
	if wrong != nil {
		return usage(stderr, wrong)
	}
	url := c.URL
	if url == "" {
		host, err := dialable(c.OpsAddr)
		if err != nil {
			return usage(stderr, err)
		}
		url = "http://" + host + "/livez"
	}
	if err := ask(ctx, url); err != nil {
		return fail(stderr, exitFailure, err)
	}
	return exitOK
}

// dialable turns a listen address into one that this machine can connect to.
func dialable(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "0" || port == "" {
		return "", fmt.Errorf("--ops-addr must be host:port with the port that serve listens on; or give --url")
	}
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		// Whether ::1 exists is the machine's business; localhost is either.
		host = "localhost"
	}
	return net.JoinHostPort(host, port), nil
}

// ask wants a 200. No proxy of the environment stands between a container and
// itself.
func ask(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("cannot ask %s: %w", config.Redact(url), err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, response.Status)
	}
	return nil
}
