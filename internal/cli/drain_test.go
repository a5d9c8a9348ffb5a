package cli

import (
	"io"
	"net/http"
	"testing"
)

// TestDrainAsksProxiesToCloseTheirConnections: an idle connection of a proxy
// works before the stop, and the next response during the drain closes it, so
// that no request is in transit when the listener closes.
func TestDrainAsksProxiesToCloseTheirConnections(t *testing.T) {
	f := newFake()
	r, public, operations := startServe(t, f.deps(), "--drain-delay=1s")
	client := http.Client{Transport: &http.Transport{}, Timeout: waitTimeout}
	t.Cleanup(client.CloseIdleConnections)
	closes := func(url string) bool {
		response, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Fatal(err)
		}
		return response.Close
	}
	for _, url := range []string{public, operations} {
		if closes(url) {
			t.Errorf("%s: the connection was closed before the drain", url)
		}
	}
	r.signal(t)
	<-f.drained
	for _, url := range []string{public, operations} {
		if !closes(url) {
			t.Errorf("%s: the connection was kept during the drain", url)
		}
	}
	if code := r.wait(t); code != exitOK {
		t.Errorf("got exit code %d; stderr:\n%s", code, r.stderr)
	}
}
