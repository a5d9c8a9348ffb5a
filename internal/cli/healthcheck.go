package cli

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/keytail/keytail/internal/config"
)

// healthcheckTimeout is under the 5 s that the Dockerfile gives the whole
// command.
const healthcheckTimeout = 3 * time.Second

type healthcheckCommand struct {
	OpsAddr string          `default:"127.0.0.1:9090" help:"The operations listener of the keytail to ask, as serve was given it."`
	OpsTLS  config.TLSFiles `embed:"" prefix:"ops-tls-"`
	URL     string          `name:"url" env:"-" placeholder:"URL" help:"Ask this address instead, such as http://127.0.0.1:9090/readyz."`
	File    string          `name:"config" placeholder:"FILE" help:"The YAML file that serve was given."`
}

func (c healthcheckCommand) run(ctx context.Context, stderr io.Writer, wrong error) int {
	if wrong != nil {
		return usage(stderr, wrong)
	}
	address := c.URL
	if address == "" {
		host, err := dialable(c.OpsAddr)
		if err != nil {
			return usage(stderr, err)
		}
		address = "http://" + host + "/livez"
		if c.OpsTLS.CertFile != "" {
			address = "https://" + host + "/livez"
		}
	}
	if err := ask(ctx, address, c.tls(address)); err != nil {
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

// tls is how an https address is asked. A certificate is for the name that
// clients use, not for this machine's own address, so it is not verified there: a
// loopback connection does not leave the machine, and nothing secret is sent over
// it. Where clients must show a certificate, the listener's own is shown; it has
// to be by one of the authorities, and for clients as well.
func (c healthcheckCommand) tls(address string) *tls.Config {
	made := &tls.Config{MinVersion: tls.VersionTLS12}
	if parsed, err := url.Parse(address); err == nil {
		made.InsecureSkipVerify = config.Loopback(net.JoinHostPort(parsed.Hostname(), "0"))
	}
	if c.OpsTLS.ClientCAFile != "" {
		if pair, err := tls.LoadX509KeyPair(c.OpsTLS.CertFile, c.OpsTLS.KeyFile); err == nil {
			made.Certificates = []tls.Certificate{pair}
		}
	}
	return made
}

// ask wants a 200. No proxy of the environment stands between a container and
// itself.
func ask(ctx context.Context, address string, tlsConfig *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("cannot ask %s: %w", config.Redact(address), err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: tlsConfig}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", address, response.Status)
	}
	return nil
}
