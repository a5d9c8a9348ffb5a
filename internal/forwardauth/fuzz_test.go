package forwardauth

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// FuzzHeaders sends arbitrary headers. A key that is found stands in the request,
// is found no more once it is taken out, and is not repeated in the request id. A
// client address that comes from a trusted proxy is not a trusted proxy's own.
func FuzzHeaders(f *testing.F) {
	sources, err := ParseKeySources([]string{"bearer", "x-api-key", "header:x-session", "query:k", "cookie:sid"})
	if err != nil {
		f.Fatal(err)
	}
	trusted, err := ParseTrustedProxies([]string{"10.0.0.0/8", "fd00::/8"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("Bearer kt_abc", "", "", "", "", "203.0.113.7", "req-1")
	f.Add("bearer  kt_abc ", "kt_abc", "kt_other", "k=kt_abc&%6b=kt_abc", "a=b; sid=kt_abc;sid=\"x\"", "198.51.100.1:80, 10.0.0.2", "kt_abc")
	f.Add("Basic x", "", ",", "k;=%zz", "sid", "::ffff:10.0.0.1, fe80::1%eth0,", "a b")
	f.Fuzz(func(t *testing.T, authorization, apiKey, session, query, cookie, forwarded, requestID string) {
		r := &http.Request{RemoteAddr: "10.0.0.1:1234", URL: &url.URL{Path: "/", RawQuery: query}, Header: http.Header{
			"Authorization": {authorization}, "X-Api-Key": {apiKey}, "X-Session": {session}, "Cookie": {cookie},
			HeaderForwardedFor: {forwarded}, HeaderRequestID: {requestID},
		}}
		id := RequestID(r, sources)
		if !SafeRequestID(id) {
			t.Errorf("the request id %q is not safe to repeat", id)
		}
		if addr := ClientIP(r, trusted); addr.IsValid() && (contains(trusted, addr) || addr.Is4In6() || addr.Zone() != "") {
			t.Errorf("%v is not the address of a client", addr)
		}
		values, _ := url.ParseQuery(query)
		key, _ := FindKey(sources, r, values)
		if key == "" {
			return
		}
		if strings.Contains(requestID, key) && id == requestID {
			t.Errorf("the request id %q has the key %q", id, key)
		}
		if !strings.Contains(authorization+apiKey+session+cookie, key) && !strings.Contains(query, "k") && !strings.Contains(query, "%") {
			t.Errorf("the key %q is not in the request", key)
		}
		Strip(sources, r)
		values, _ = url.ParseQuery(r.URL.RawQuery)
		if left, _ := FindKey(sources, r, values); left != "" {
			t.Errorf("%q is still found after Strip", left)
		}
	})
}
