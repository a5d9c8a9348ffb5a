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

// The environment variables with a token. There is no flag for a token, because
// other users of the machine can see a command line.
const (
	envToken       = config.EnvPrefix + "_TOKEN"
	envCallerToken = config.EnvPrefix + "_CALLER_TOKEN"
)

// connection has the flags for reaching another keytail.
type connection struct {
	CAFile         string `name:"ca-file" placeholder:"FILE" help:"CA certificates that may have signed the server's certificate, in PEM. Default: those of the system."`
	ClientCertFile string `placeholder:"FILE" help:"Client certificate, in PEM, if the server requires one."`
	ClientKeyFile  string `placeholder:"FILE" help:"Private key of that certificate, in PEM."`
	Output         string `short:"o" env:"-" enum:"table,json" default:"table" help:"table, or json for scripts."`
}

// adminFlags has the flags for reaching the admin listener of a running keytail.
type adminFlags struct {
	AdminURL  string `name:"admin-url" placeholder:"URL" default:"http://127.0.0.1:9091" help:"The admin listener of a running keytail."`
	TokenFile string `placeholder:"FILE" help:"File with an admin token, or with one line of name=token. KEYTAIL_TOKEN can have the token instead."`
	connection
}

// session is one command's connection to a server.
type session struct {
	*adminclient.Client
	process
	out *screen
	// json: the output is for a script.
	json bool
}

// run connects and calls do. wrong has the mistakes found so far; they are
// reported together with those in these flags.
func (f *adminFlags) run(ctx context.Context, p process, wrong error, do func(context.Context, *session) error) int {
	token, tokenErr := readToken(f.TokenFile, envToken)
	if tokenErr == nil && token == "" && f.ClientCertFile == "" {
		tokenErr = fmt.Errorf("no admin token is given: set --token-file, %s, or --client-cert-file if the server knows the certificate as a caller", envToken)
	}
	return f.connection.run(ctx, p, errors.Join(wrong, tokenErr, checkEncrypted("admin-url", f.AdminURL)),
		server{"admin-url", f.AdminURL, token}, do)
}

// server is the address and token, and the flag that gave the address.
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

// errNo is a failure that has been reported already.
var errNo = errors.New("no")

// failed prints an error unless it has been reported.
func failed(p process, err error) int {
	if errors.Is(err, errNo) {
		return exitFailure
	}
	return fail(p.stderr, exitFailure, err)
}

// note prints a message for people, to standard error.
func (p process) note(format string, args ...any) {
	_, _ = fmt.Fprintf(p.stderr, "keytail: %s\n", plain(fmt.Sprintf(format, args...)))
}

// tls reads the files.
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
		mistakes = append(mistakes, errors.New("--client-cert-file and --client-key-file must be given together"))
	case cert:
		pair, err := f.certificate()
		made.Certificates = []tls.Certificate{pair}
		mistakes = append(mistakes, err)
	}
	return made, errors.Join(mistakes...)
}

// certificate is the client's own, with its key.
func (f *connection) certificate() (tls.Certificate, error) {
	cert, certErr := secretfile.Read(f.ClientCertFile)
	key, keyErr := secretfile.ReadSecret(f.ClientKeyFile)
	if err := errors.Join(ofFlag("client-cert-file", certErr), ofFlag("client-key-file", keyErr)); err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		err = fmt.Errorf("--client-cert-file and --client-key-file cannot be used: %w", err)
	}
	return pair, err
}

// checkEncrypted refuses to send a token where the server would refuse to listen.
func checkEncrypted(flag, address string) error {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Scheme != "http" || config.Loopback(net.JoinHostPort(parsed.Hostname(), "0")) {
		return nil //nolint:nilerr // the client reports what is wrong with an address
	}
	return fmt.Errorf("--%s is plain HTTP to another machine, and the token would cross the network unencrypted: use https, or a tunnel to this machine", flag)
}

// readToken is the token of a file or, without a file, of the environment. "":
// there is none. No error contains any part of it.
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

// ofFlag adds the flag to an error. Nil stays nil.
func ofFlag(flag string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("--%s: %w", flag, err)
}
