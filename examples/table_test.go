//go:build linux

package examples_test

import "testing"

func note(t *testing.T, proxy, name string, r *reply, reached bool) {
	t.Helper()
	t.Logf("%s: %s: %d %s %q reached=%t", proxy, name, r.status, r.header.Get("X-Auth-Result"), r.header.Get("WWW-Authenticate"), reached)
}
