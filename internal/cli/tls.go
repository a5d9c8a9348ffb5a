package cli

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/reload"
	"github.com/keytail/keytail/internal/secretfile"
)

// certificates are those of one listener, as its files have them now.
type certificates struct {
	files   *reload.Files
	current atomic.Pointer[tls.Config]
}

// newCertificates reads the files of a listener: nil for plain HTTP. The error
// names the wrong file. A nil registerer registers no metrics. ticks is for tests,
// see reload.Config.
func newCertificates(l config.Listener, logger *zap.Logger, registerer prometheus.Registerer, ticks <-chan time.Time) (*certificates, error) {
	if l.TLS.CertFile == "" {
		return nil, nil //nolint:nilnil // no certificates, and nothing wrong
	}
	c := &certificates{}
	var err error
	c.files, err = reload.New(reload.Config{
		Read: func() ([][]byte, error) { return readTLSFiles(l) },
		Use: func(contents [][]byte) error {
			made, err := tlsConfig(l, contents, logger, time.Now())
			if err == nil {
				c.current.Store(made)
			}
			return err
		},
		What:       "the certificate files of --" + l.Flag,
		Setting:    l.Prefix + "cert-file",
		Logger:     logger,
		Registerer: registerer,
		Ticks:      ticks,
	})
	return c, err
}

// readTLSFiles returns the certificate, the key and, if there is one, the file of
// CA certificates.
func readTLSFiles(l config.Listener) ([][]byte, error) {
	var contents [][]byte
	var mistakes []error
	for _, file := range []struct {
		flag, path string
		read       func(string) ([]byte, error)
	}{
		{"cert-file", l.TLS.CertFile, secretfile.Read},
		{"key-file", l.TLS.KeyFile, secretfile.ReadSecret},
		{"client-ca-file", l.TLS.ClientCAFile, secretfile.Read},
	} {
		if file.path == "" {
			continue
		}
		content, err := file.read(file.path)
		contents, mistakes = append(contents, content), append(mistakes, ofFlag(l.Prefix+file.flag, err))
	}
	return contents, errors.Join(mistakes...)
}

// tlsConfig is for new connections. An expired certificate is used with a
// warning: a listener that does not start helps no one, and the clock may be
// wrong.
func tlsConfig(l config.Listener, contents [][]byte, logger *zap.Logger, now time.Time) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(contents[0], contents[1])
	if err != nil {
		return nil, fmt.Errorf("--%scert-file %s and --%skey-file %s do not belong together: %w", l.Prefix, l.TLS.CertFile, l.Prefix, l.TLS.KeyFile, err)
	}
	made := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{pair},
		NextProtos:   []string{"h2", "http/1.1"},
		// A resumed session would bypass a change of the CA certificates.
		SessionTicketsDisabled: l.TLS.ClientCAFile != "",
	}
	if l.TLS.ClientCAFile != "" {
		made.ClientAuth, made.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		if !made.ClientCAs.AppendCertsFromPEM(contents[2]) {
			return nil, fmt.Errorf("--%sclient-ca-file %s has no certificate in PEM", l.Prefix, l.TLS.ClientCAFile)
		}
	}
	if leaf := pair.Leaf; leaf != nil && (now.After(leaf.NotAfter) || now.Before(leaf.NotBefore)) {
		logger.Warn("the certificate is not valid at this time, clients will refuse it",
			zap.String("file", l.TLS.CertFile), zap.Time("not_before", leaf.NotBefore), zap.Time("not_after", leaf.NotAfter))
	}
	return made, nil
}

// listener wraps l in TLS. Each new connection gets the current certificates.
func (c *certificates) listener(l net.Listener) net.Listener {
	return tls.NewListener(l, &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return c.current.Load(), nil
		},
	})
}
