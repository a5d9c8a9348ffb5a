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

// healthcheckTimeout is shorter than the 5 s that the Dockerfile allows for the
// command.
const healthcheckTimeout = 3 * time.Second

type healthcheckCommand struct {
	OpsAddr string          `default:"127.0.0.1:9090" help:"The address of the operations listener, as given to serve."`
	OpsTLS  config.TLSFiles `embed:"" prefix:"ops-tls-"`
	URL     string          `name:"url" env:"-" placeholder:"URL" help:"Request this URL instead, such as http://127.0.0.1:9090/readyz."`
	File    string          `name:"config" placeholder:"FILE" help:"The YAML file that was given to serve."`
}

func (c healthcheckCommand) run(ctx context.Context, stderr io.Writer, wrong error) int {
	if wrong != nil {
		return usage(stderr, wrong)
	}
	address := c.URL
	if address == "" {
		host, err := dialAddress(c.OpsAddr)
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

// dialAddress turns a listen address into one to which this machine can connect.
func dialAddress(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "0" || port == "" {
		return "", fmt.Errorf("--ops-addr must be host:port with the port that serve listens on; or give --url")
	}
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		// This machine may not have ::1; localhost works with and without it.
		host = "localhost"
	}
	return net.JoinHostPort(host, port), nil
}

// tls is the TLS configuration for an https address. A certificate is for the
// name that clients use, not for the address of this machine, so it is not
// verified on a loopback address: that connection does not leave the machine, and
// nothing secret is sent over it. If clients need a certificate, this command
// presents the one of the listener, which must then also be a client certificate
// of that CA.
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

// ask expects a 200. It does not use a proxy from the environment, because a
// container sends the request to itself.
func ask(ctx context.Context, address string, tlsConfig *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("the URL %s is not valid: %w", config.Redact(address), err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: tlsConfig}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("no response: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", address, response.Status)
	}
	return nil
}
