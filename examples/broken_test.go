//go:build linux

package examples_test

import (
	"slices"
	"strings"
	"testing"
)

// broken is an example's config with a mistake in it, and what comes of that. It
// shows that the line is needed, and that the cases would see its loss.
type broken struct {
	name string
	edit func(config string) string
	// gone has keytail be gone when it is asked.
	gone bool
	ask  func(keys map[string]string) ask
	// shows reports whether the mistake shows. got is nil when nothing reached the
	// API.
	shows func(r *reply, got *received) bool
}

// run starts the proxy with each mistake.
func runBroken(t *testing.T, p proxy, all []broken) {
	t.Helper()
	for _, b := range all {
		t.Run(b.name, func(t *testing.T) {
			s := newStage(t, p, b.edit)
			if b.gone {
				s.keytail.goAway()
			}
			r := s.send(t, b.ask(s.keys))
			var got *received
			if after := s.upstream.since(0); len(after) > 0 {
				got = &after[0]
			}
			if !b.shows(r, got) {
				t.Errorf("the mistake does not show, so nothing watches over this line: the client saw %d %v %q, the API got %+v", r.status, r.header, r.body, got)
			}
		})
	}
}

// askOrders is what most mistakes show with.
func askOrders(key string, header ...field) func(map[string]string) ask {
	return func(keys map[string]string) ask {
		return ask{target: "/orders/1", header: append(slices.Clone(header), bearer(keys[key]))}
	}
}

// gotForged reports whether the API got what a client wrote.
func gotForged(_ *reply, got *received) bool {
	return got != nil && slices.ContainsFunc(got.Header, func(f field) bool { return strings.Contains(f.Value, "forged") })
}

func gotKey(_ *reply, got *received) bool {
	return got != nil && slices.ContainsFunc(got.Header, func(f field) bool { return strings.Contains(f.Value, "kt_") })
}

func sawStatus(status int) func(*reply, *received) bool {
	return func(r *reply, _ *received) bool { return r.status == status }
}

// askSteps asks without a key, by a path that an API may take for one that needs
// one.
func askSteps(map[string]string) ask { return ask{target: "/orders/../public/1"} }

func gotOrders(_ *reply, got *received) bool { return got != nil && couldMean(got.Target, "/orders") }
