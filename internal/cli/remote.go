package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/keytail/keytail/internal/adminclient"
	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/httpclient"
	"github.com/keytail/keytail/internal/secretfile"
)

// The environment variables that hold a token itself. There is no flag for one:
// other users of the machine see a command line.
const (
	envToken       = config.EnvPrefix + "_TOKEN"
	envCallerToken = config.EnvPrefix + "_CALLER_TOKEN"
)

// connection is how another keytail is reached.
type connection struct {
	CAFile         string `name:"ca-file" placeholder:"FILE" help:"The authorities that may have made the server's certificate, in PEM. Default: those of the system."`
	ClientCertFile string `placeholder:"FILE" help:"Certificate to show to the server, in PEM, where it wants one."`
	ClientKeyFile  string `placeholder:"FILE" help:"Private key of that certificate, in PEM."`
	Output         string `short:"o" env:"-" enum:"table,json" default:"table" help:"table, or json for scripts."`
}

// adminFlags is how the admin listener of a running keytail is reached.
type adminFlags struct {
	AdminURL  string `name:"admin-url" placeholder:"URL" default:"http://127.0.0.1:9091" help:"The admin listener of a running keytail."`
	TokenFile string `placeholder:"FILE" help:"File with an admin token, or one line of name=token. Or the token itself in KEYTAIL_TOKEN."`
	connection
}

// session is one command's talk with a server.
type session struct {
	*adminclient.Client
	process
	out *screen
	// json: what is printed is for a script.
	json bool
}

// run connects and does what the command is for. wrong is everything that is known
// to be wrong already; it is reported with what is wrong with these flags.
func (f *adminFlags) run(ctx context.Context, p process, wrong error, do func(context.Context, *session) error) int {
	token, tokenErr := readToken(f.TokenFile, envToken)
	if tokenErr == nil && token == "" {
		tokenErr = fmt.Errorf("no admin token is given: --token-file names a file with one, or %s holds it", envToken)
	}
	return f.connection.run(ctx, p, errors.Join(wrong, tokenErr, inTheClear("admin-url", f.AdminURL)),
		server{"admin-url", f.AdminURL, token}, do)
}

// server is who is asked, by the flag that says where.
type server struct{ flag, url, token string }

func (f *connection) run(ctx context.Context, p process, wrong error, s server, do func(context.Context, *session) error) int {
	tlsConfig, tlsErr := f.tls()
	client, urlErr := adminclient.New(adminclient.Config{Config: httpclient.Config{
		URL: s.url, Token: s.token, TLS: tlsConfig, UserAgent: "keytail/" + serviceVersion(p.deps),
	}})
	if urlErr != nil {
		urlErr = fmt.Errorf("--%s: %w", s.flag, urlErr)
	}
	if err := errors.Join(wrong, tlsErr, urlErr); err != nil {
		return usage(p.stderr, err)
	}
	defer client.Close()
	out := &screen{Writer: p.stdout}
	err := do(ctx, &session{Client: client, process: p, out: out, json: f.Output == outputJSON})
	if err = errors.Join(err, out.failed); err != nil {
		return failed(p, err)
	}
	return exitOK
}

// errNo is a failure that has been told already.
var errNo = errors.New("no")

// failed prints an error unless somebody has.
func failed(p process, err error) int {
	if errors.Is(err, errNo) {
		return exitFailure
	}
	return fail(p.stderr, exitFailure, err)
}

// note is a sentence for people, which no script reads.
func (s *session) note(format string, args ...any) {
	_, _ = fmt.Fprintf(s.stderr, "keytail: %s\n", plain(fmt.Sprintf(format, args...)))
}

// tls reads the files. Nil: there are none.
func (f *connection) tls() (*tls.Config, error) {
	made := &tls.Config{MinVersion: tls.VersionTLS12}
	var mistakes []error
	if f.CAFile != "" {
		content, err := secretfile.Read(f.CAFile)
		err = ofFlag("ca-file", err)
		made.RootCAs = x509.NewCertPool()
		if err == nil && !made.RootCAs.AppendCertsFromPEM(content) {
			err = fmt.Errorf("--ca-file: %s has no certificate in PEM", f.CAFile)
		}
		mistakes = append(mistakes, err)
	}
	switch cert, key := f.ClientCertFile != "", f.ClientKeyFile != ""; {
	case cert != key:
		mistakes = append(mistakes, errors.New("--client-cert-file and --client-key-file belong together: give both, or none"))
	case cert:
		pair, err := tls.LoadX509KeyPair(f.ClientCertFile, f.ClientKeyFile)
		if err != nil {
			err = fmt.Errorf("--client-cert-file and --client-key-file cannot be used: %w", err)
		}
		made.Certificates = []tls.Certificate{pair}
		mistakes = append(mistakes, err)
	}
	return made, errors.Join(mistakes...)
}

// inTheClear refuses to send a token where the server would refuse to listen.
func inTheClear(flag, address string) error {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Scheme != "http" || config.Loopback(net.JoinHostPort(parsed.Hostname(), "0")) {
		return nil //nolint:nilerr // the client says what is wrong with an address
	}
	return fmt.Errorf("--%s is another machine by plain HTTP, and the token would cross the network in the clear: use https, or a tunnel to this machine", flag)
}

// readToken is the token of a file, or without one of the environment. "": there is
// none. Nothing of it is in an error.
func readToken(path, env string) (string, error) {
	if path == "" {
		token := strings.TrimSpace(os.Getenv(env))
		if token != "" && !secretfile.IsToken(token) {
			return "", fmt.Errorf("%s must hold one token of printable ASCII characters", env)
		}
		return token, nil
	}
	token, err := secretfile.ReadToken(path)
	return token, ofFlag("token-file", err)
}

// ofFlag says which flag an error is about. Nil stays nil.
func ofFlag(flag string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("--%s: %w", flag, err)
}
