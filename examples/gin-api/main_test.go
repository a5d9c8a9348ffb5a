package main

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/goleak"

	"github.com/keytail/keytail/examples/internal/smoke"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.TestMode)
	goleak.VerifyTestMain(m)
}

// TestSmoke runs the service on an embedded MongoDB, revokes a key there under an
// open stream, and stops the service under another.
func TestSmoke(t *testing.T) {
	d := mongotest.StartDevmongo(t, devmongo.Config{})
	keys := mongotest.CreateAPIKeys(t, d.Client(t).Database("app"))
	lost, kept := smoke.Insert(t, keys, "lost"), smoke.Insert(t, keys, "kept")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + listener.Addr().String()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, d.URI, listener, 2*time.Second) }()
	ready := func(want int) {
		t.Helper()
		mongotest.Eventually(t, smoke.Patience, func() bool {
			got, _ := smoke.Answer(t, http.MethodGet, url+"/readyz", "", "")
			return got == want
		}, "/readyz does not say ", want)
	}
	ready(http.StatusOK)

	if status, body := smoke.Answer(t, http.MethodPost, url+"/orders", lost, `{"item":"tea"}`); status != http.StatusCreated {
		t.Fatalf("a good key: %d %s", status, body)
	}
	cut, uncut := smoke.Stream(t, url, lost), smoke.Stream(t, url, kept)
	smoke.Revoke(t, keys, "lost")
	acknowledged := time.Now()
	smoke.Rest(t, cut)
	t.Logf("the stream of a revoked key ended %v after the revocation was acknowledged", time.Since(acknowledged))
	if status, body := smoke.Answer(t, http.MethodGet, url+"/orders", lost, ""); status != http.StatusUnauthorized || !strings.Contains(body, `"DISABLED"`) {
		t.Errorf("a revoked key: %d %s", status, body)
	}

	stop()
	ready(http.StatusServiceUnavailable)
	if status, body := smoke.Answer(t, http.MethodPost, url+"/orders", kept, `{"item":"last order"}`); status != http.StatusCreated {
		t.Errorf("while it drains: %d %s", status, body)
	}
	began := time.Now()
	if err := <-ended; err != nil || time.Since(began) > lastRequests {
		t.Errorf("it stopped after %v with %v", time.Since(began), err)
	}
	if rest := smoke.Rest(t, uncut); !strings.Contains(rest, "last order") {
		t.Errorf("the other stream ends with %q", rest)
	}
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	d := mongotest.StartDevmongo(t, devmongo.Config{})
	if err := run(t.Context(), d.URI, nil, 0); err == nil || !strings.Contains(err.Error(), `no collection "api_keys"`) {
		t.Errorf("without keys: %v", err)
	}
}
