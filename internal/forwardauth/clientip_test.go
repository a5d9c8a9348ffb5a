package forwardauth

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestPeerAddress(t *testing.T) {
	t.Parallel()
	for remote, want := range map[string]string{
		"192.0.2.1:80": "192.0.2.1", "[2001:db8::1]:80": "2001:db8::1", "[::ffff:192.0.2.1]:80": "192.0.2.1",
		"[fe80::1%eth0]:80": "fe80::1%eth0", "@": "", "": "", "/run/keytail.sock": "", "192.0.2.1": "",
	} {
		got := peerAddress(remote)
		if got.IsValid() != (want != "") || got.IsValid() && got.String() != want {
			t.Errorf("%q: %v, want %q", remote, got, want)
		}
	}
}

// TestForgedHopsNeverMatter: what an untrusted peer writes into X-Forwarded-For
// has no effect, nor has anything left of the first hop that is not trusted.
func TestForgedHopsNeverMatter(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:aaaa::/48")}
	proxy := rapid.SampledFrom([]string{"10.0.0.1", "10.9.9.9", "2001:db8:aaaa::5", "::ffff:10.0.0.3", "10.0.0.1:99"})
	client := rapid.SampledFrom([]string{"203.0.113.7", "2001:db8:bbbb::1", "unknown", "", "10.0.0", "fe80::1%a"})
	text := rapid.SampledFrom([]string{"203.0.113.99", "10.0.0.2", "x", "", ",", "192.0.2.1, 10.0.0.4"})
	rapid.Check(t, func(t *rapid.T) {
		hearsay := rapid.SliceOfN(text, 0, 3).Draw(t, "hearsay")
		hop := client.Draw(t, "client")
		proxies := rapid.SliceOfN(proxy, 0, 3).Draw(t, "proxies")
		want := hopAddress(hop)

		hops := slices.Concat([]string{hop}, proxies)
		cut := rapid.IntRange(0, len(hops)-1).Draw(t, "cut")
		for _, headers := range [][]string{
			{strings.Join(slices.Concat(hearsay, hops), ",")},
			slices.Concat(hearsay, []string{strings.Join(hops, ", ")}),
			{strings.Join(slices.Concat(hearsay, hops[:cut+1]), " ,\t"), strings.Join(append(slices.Clone(hops[cut+1:]), "10.7.7.7"), ",")},
		} {
			r := &http.Request{RemoteAddr: "10.0.0.8:1234", Header: http.Header{HeaderForwardedFor: headers}}
			if got := ClientIP(r, trusted); got != want {
				t.Fatalf("%q: %v, want %v", headers, got, want)
			}
			r.RemoteAddr = "198.51.100.1:1234"
			if got := ClientIP(r, trusted); got.String() != "198.51.100.1" {
				t.Fatalf("%q from an untrusted peer: %v", headers, got)
			}
		}
	})
}

func TestUnixPeerHasNoAddress(t *testing.T) {
	t.Parallel()
	r := &http.Request{RemoteAddr: "@", Header: http.Header{HeaderForwardedFor: {"203.0.113.7"}}}
	if got := ClientIP(r, []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}); got.IsValid() {
		t.Errorf("%v", got)
	}
}

// TestTrustedProxyWithoutAClient: the address of the proxy never replaces that of
// a client that it does not name.
func TestTrustedProxyWithoutAClient(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, headers := range [][]string{nil, {""}, {"10.0.0.1"}, {"10.0.0.1, 10.0.0.2", "10.0.0.3"}, {","}} {
		r := &http.Request{RemoteAddr: "10.0.0.8:1234", Header: http.Header{HeaderForwardedFor: headers}}
		if got := ClientIP(r, trusted); got.IsValid() {
			t.Errorf("%q: %v", headers, got)
		}
	}
}
