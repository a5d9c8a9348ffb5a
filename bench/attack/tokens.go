package attack

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/keytail/keytail/bench/child"
)

// certificate writes a self-signed certificate for 127.0.0.1, and returns the flags of the
// public listener.
func certificate(dir string, mode os.FileMode) ([]string, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	public, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: public}), 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600); err != nil {
		return nil, err
	}
	return []string{"--tls-cert-file=" + certFile, "--tls-key-file=" + keyFile}, os.Chmod(keyFile, mode) // regardless of the umask
}

// logLines is the number of lines of the log so far.
func logLines(d *child.Daemon, with string) (lines int, err error) {
	text, err := os.ReadFile(filepath.Join(d.Dir, "log"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, with) {
			lines++
		}
	}
	return lines, nil
}

func badHandshakes(ctx context.Context, t *target) (string, error) {
	c, err := t.config()
	if err != nil {
		return "", err
	}
	if c.Args, err = certificate(c.Dir, 0o600); err != nil {
		return "", err
	}
	d, err := child.Start(ctx, c)
	if err != nil {
		return "", err
	}
	defer d.Kill()
	before, err := logLines(d, "")
	if err != nil {
		return "", err
	}
	for range 1500 {
		conns, closeAll, err := connect(ctx, d.Public, 1, "this is no TLS\r\n\r\n")
		if err != nil {
			return "", err
		}
		_, _ = io.Copy(io.Discard, conns[0]) // until keytail closes the connection
		closeAll()
	}
	after, err := logLines(d, "")
	return fmt.Sprint(after - before), err
}

func guesses(ctx context.Context, t *target) (string, error) {
	return t.with(ctx, 0, nil, func(d *child.Daemon) (string, error) {
		url := "http://" + d.Admin + "/v1/status"
		before, err := logLines(d, "")
		if err != nil {
			return "", err
		}
		began := time.Now()
		for range 8 {
			if status, err := get(ctx, url, bearer(rand.Text())); err != nil || status != fmt.Sprint(http.StatusUnauthorized) {
				return "", fmt.Errorf("a wrong token gets %s: %w", status, err)
			}
		}
		took := time.Since(began)
		began = time.Now()
		right, err := get(ctx, url, bearer(d.AdminToken))
		if err != nil {
			return "", err
		}
		rightTook := time.Since(began)
		after, err := logLines(d, "")
		return fmt.Sprintf("%.2f s, %d log lines; the right token gets %s in %.2f s", took.Seconds(), after-before, right, rightTook.Seconds()), err
	})
}

func rebinding(ctx context.Context, t *target) (string, error) {
	return t.with(ctx, 0, nil, func(d *child.Daemon) (string, error) {
		return statuses(ctx, [][2]string{{"/metrics", "http://" + d.Operations + "/metrics"}, {"admin", "http://" + d.Admin + "/v1/status"}}, func(r *http.Request) {
			bearer(d.AdminToken)(r)
			r.Host = "evil.example"
		})
	})
}

func plainTokens(ctx context.Context, t *target) (string, error) {
	return t.with(ctx, 0, []string{"--addr=0.0.0.0:0"}, func(d *child.Daemon) (string, error) {
		lines, err := logLines(d, "unencrypted")
		return fmt.Sprint(lines), err
	})
}

func readableKey(ctx context.Context, t *target) (string, error) {
	return t.starts(ctx, "chmod", func(dir string) ([]string, error) { return certificate(dir, 0o644) })
}

func sharedToken(ctx context.Context, t *target) (string, error) {
	return t.starts(ctx, "token", func(dir string) ([]string, error) {
		// The file of the callers under another name.
		file := filepath.Join(dir, "admins-too")
		return []string{"--admin-token-file=" + file}, os.Symlink(filepath.Join(dir, "callers"), file)
	})
}

func sniffing(ctx context.Context, t *target) (string, error) {
	return t.with(ctx, 0, nil, func(d *child.Daemon) (string, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.Admin+"/v1/status", http.NoBody)
		if err != nil {
			return "", err
		}
		response, err := fresh().Do(r)
		if err != nil {
			return "", err
		}
		value := response.Header.Get("X-Content-Type-Options")
		if value == "" {
			value = "absent"
		}
		return value, response.Body.Close()
	})
}
