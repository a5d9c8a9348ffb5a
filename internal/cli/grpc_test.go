package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/keytail/keytail/internal/config"
)

// dialGRPC connects a client that trusts the authority for this name, and presents the
// certificate of show, if any. Without an authority it uses no TLS.
func dialGRPC(t *testing.T, addr string, a *authority, name string, show config.TLSFiles) *grpc.ClientConn {
	t.Helper()
	transport := insecure.NewCredentials()
	if a != nil {
		made := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool(), ServerName: name}
		made.RootCAs.AddCert(a.cert)
		if show.CertFile != "" {
			pair, err := tls.LoadX509KeyPair(show.CertFile, show.KeyFile)
			if err != nil {
				t.Fatal(err)
			}
			made.Certificates = []tls.Certificate{pair}
		}
		transport = credentials.NewTLS(made)
	}
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(transport))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// checkGRPC sends an empty request, and returns the code of the answer.
func checkGRPC(t *testing.T, conn *grpc.ClientConn) (codes.Code, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	answer, err := authv3.NewAuthorizationClient(conn).Check(ctx, &authv3.CheckRequest{})
	return codes.Code(answer.GetStatus().GetCode()), err
}

func healthGRPC(t *testing.T, conn *grpc.ClientConn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return answer.GetStatus().String()
}

// startGRPC starts serve with a gRPC listener, and returns its address.
func startGRPC(t *testing.T, f *fake, args ...string) (r *running, addr string) {
	t.Helper()
	r, _, _ = startServe(t, f.deps(), append([]string{"--grpc-addr=127.0.0.1:0"}, args...)...)
	_, addr, found := strings.Cut(r.stderr.waitFor(t, `"serving"`), `"grpc_addr":"`)
	if !found {
		t.Fatalf("no gRPC listener:\n%s", r.stderr)
	}
	addr, _, _ = strings.Cut(addr, `"`)
	return r, addr
}

// TestGRPCListener also answers during the drain, and closes when the process exits.
func TestGRPCListener(t *testing.T) {
	f := newFake()
	r, addr := startGRPC(t, f, "--drain-delay=1s", "--hide-credentials")
	conn := dialGRPC(t, addr, nil, "", config.TLSFiles{})
	if code, err := checkGRPC(t, conn); err != nil || code != codes.Unavailable { // the fake has no data
		t.Errorf("got %v, %v, want Unavailable", code, err)
	}
	if status := healthGRPC(t, conn); status != "SERVING" {
		t.Errorf("health: got %s", status)
	}
	if !f.cfg.HideCredentials {
		t.Error("the service did not get --hide-credentials")
	}
	r.signal(t)
	<-f.drained
	if status := healthGRPC(t, conn); status != "NOT_SERVING" {
		t.Errorf("health during the drain: got %s", status)
	}
	if _, err := checkGRPC(t, conn); err != nil {
		t.Errorf("during the drain: %v", err)
	}
	if code := r.wait(t); code != exitOK {
		t.Errorf("got exit code %d; stderr:\n%s", code, r.stderr)
	}
	if conn, err := net.Dial("tcp", addr); err == nil {
		_ = conn.Close()
		t.Error("the listener is still open")
	}
}

func TestNoGRPCListenerByDefault(t *testing.T) {
	r, _, _ := startServe(t, newFake().deps(), "--drain-delay=0")
	if line := r.stderr.waitFor(t, `"serving"`); strings.Contains(line, "grpc_addr") {
		t.Errorf("got a gRPC listener, want none: %s", line)
	}
	r.signal(t)
	r.wait(t)
}

// TestGRPCWithTLS, with and without client certificates.
func TestGRPCWithTLS(t *testing.T) {
	dir, ca := t.TempDir(), newAuthority(t)
	until := time.Now().Add(time.Hour)
	server := ca.write(t, filepath.Join(dir, "server"), "keytail.example", until)
	envoy := ca.write(t, filepath.Join(dir, "envoy"), "envoy", until)
	stranger := newAuthority(t).write(t, filepath.Join(dir, "stranger"), "envoy", until)
	caFile := filepath.Join(dir, "ca.crt")
	writeFile(t, caFile, ca.pem)
	r, addr := startGRPC(t, newFake(), "--drain-delay=0", "--grpc-tls-cert-file="+server.CertFile, "--grpc-tls-key-file="+server.KeyFile, "--grpc-tls-client-ca-file="+caFile)
	if code, err := checkGRPC(t, dialGRPC(t, addr, ca, "keytail.example", envoy)); err != nil || code != codes.Unavailable {
		t.Errorf("with a certificate: %v, %v", code, err)
	}
	for name, conn := range map[string]*grpc.ClientConn{
		"without a certificate":       dialGRPC(t, addr, ca, "keytail.example", config.TLSFiles{}),
		"with a stranger's":           dialGRPC(t, addr, ca, "keytail.example", stranger),
		"unencrypted":                 dialGRPC(t, addr, nil, "", config.TLSFiles{}),
		"who takes it for another":    dialGRPC(t, addr, ca, "other.example", envoy),
		"who trusts another's signer": dialGRPC(t, addr, newAuthority(t), "keytail.example", envoy),
	} {
		if code, err := checkGRPC(t, conn); err == nil {
			t.Errorf("%s: %v", name, code)
		}
	}
	r.signal(t)
	if code := r.wait(t); code != exitOK {
		t.Errorf("got exit code %d; stderr:\n%s", code, r.stderr)
	}
}

// TestGRPCCertificatesAreReloaded for new connections. Old ones continue.
func TestGRPCCertificatesAreReloaded(t *testing.T) {
	dir, ca := t.TempDir(), newAuthority(t)
	until := time.Now().Add(time.Hour)
	files := ca.write(t, filepath.Join(dir, "pair"), "first", until)
	ticks := make(chan time.Time)
	c, err := newCertificates(config.Listener{Flag: "grpc-addr", Prefix: "grpc-tls-", TLS: files}, zap.NewNop(), nil, ticks)
	if err != nil {
		t.Fatal(err)
	}
	bound, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := listener{Listener: bound, limit: unlimited(t, bound), name: config.GRPC, certificates: c}
	l.serveBy(newFake().extauthz)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- l.serve() }()
	go func() { ended <- l.follow(ctx) }()
	defer func() {
		stop()
		if err := l.shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}()
	first := dialGRPC(t, bound.Addr().String(), ca, "first", config.TLSFiles{})
	if _, err := checkGRPC(t, first); err != nil {
		t.Fatal(err)
	}
	ca.write(t, filepath.Join(dir, "pair"), "second", until)
	ticks <- time.Time{} // the second is taken when the first has been worked off
	ticks <- time.Time{}
	if _, err := checkGRPC(t, dialGRPC(t, bound.Addr().String(), ca, "second", config.TLSFiles{})); err != nil {
		t.Errorf("a new connection: %v", err)
	}
	if _, err := checkGRPC(t, dialGRPC(t, bound.Addr().String(), ca, "first", config.TLSFiles{})); err == nil {
		t.Error("a new connection got the old certificate")
	}
	if _, err := checkGRPC(t, first); err != nil {
		t.Errorf("the old connection: %v", err)
	}
}

// TestWarningOfAnOpenGRPCListener: any program that can connect can claim any client
// address.
func TestWarningOfAnOpenGRPCListener(t *testing.T) {
	tls := config.TLSFiles{CertFile: "c", KeyFile: "k"}
	mutual := config.TLSFiles{CertFile: "c", KeyFile: "k", ClientCAFile: "a"}
	for name, test := range map[string]struct {
		cfg  config.Config
		want int
	}{
		"none":                 {config.Config{}, 0},
		"loopback":             {config.Config{GRPCAddr: "127.0.0.1:8081"}, 0},
		"all":                  {config.Config{GRPCAddr: ":8081"}, 1},
		"all, with TLS":        {config.Config{GRPCAddr: ":8081", GRPCTLS: tls}, 1},
		"all, by certificates": {config.Config{GRPCAddr: ":8081", GRPCTLS: mutual}, 0},
	} {
		core, logs := observer.New(zap.WarnLevel)
		test.cfg.Addr = "127.0.0.1:8080"
		(&serveRun{cfg: &test.cfg, log: &logging{Logger: zap.New(core)}}).announce()
		if logs.FilterMessageSnippet("the gRPC listener is reachable").Len() != test.want || logs.Len() != test.want {
			t.Errorf("%s: got log %v", name, logs.All())
		}
	}
}
