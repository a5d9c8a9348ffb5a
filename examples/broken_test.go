//go:build linux

package examples_test

import (
	"slices"
	"strings"
	"testing"
)

// mutation is a mistake in the configuration of an example, and its effect. It shows that
// the changed line is needed, and that the cases would detect its loss.
type mutation struct {
	name string
	edit func(config string) string
	// keytailDown stops keytail before the request.
	keytailDown bool
	request     func(keys map[string]string) request
	// detected reports whether the effect is visible. got is nil if no request reached
	// the API.
	detected func(r *reply, got *received) bool
}

// runMutations starts the proxy with each mistake.
func runMutations(t *testing.T, p proxy, all []mutation) {
	t.Helper()
	for _, b := range all {
		t.Run(b.name, func(t *testing.T) {
			s := newStage(t, p, b.edit)
			if b.keytailDown {
				s.keytail.kill()
			}
			r := s.send(t, b.request(s.keys))
			var got *received
			if after := s.upstream.since(0); len(after) > 0 {
				got = &after[0]
			}
			if !b.detected(r, got) {
				t.Errorf("the mistake has no effect, so no case protects this line: the client got %d %v %q, the API got %+v", r.status, r.header, r.body, got)
			}
		})
	}
}

// requestOrders returns a request for orders with this key, which detects most mistakes.
func requestOrders(key string, header ...field) func(map[string]string) request {
	return func(keys map[string]string) request {
		return request{target: "/orders/1", header: append(slices.Clone(header), bearer(keys[key]))}
	}
}

// receivedForgedHeader reports whether the API got a header that a client forged.
func receivedForgedHeader(_ *reply, got *received) bool {
	return got != nil && slices.ContainsFunc(got.Header, func(f field) bool { return strings.Contains(f.Value, "forged") })
}

func gotKey(_ *reply, got *received) bool {
	return got != nil && slices.ContainsFunc(got.Header, func(f field) bool { return strings.Contains(f.Value, "kt_") })
}

func sawStatus(status int) func(*reply, *received) bool {
	return func(r *reply, _ *received) bool { return r.status == status }
}

// requestDotSegments returns a request without a key whose path an API may resolve to one
// that needs a key.
func requestDotSegments(map[string]string) request { return request{target: "/orders/../public/1"} }

func gotOrders(_ *reply, got *received) bool {
	return got != nil && canResolveTo(got.Target, "/orders")
}
