package extauthz

import (
	"context"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/forwardauth"
)

// recordingValidator is a Validator that remembers the last key that it accepted.
type recordingValidator struct {
	fakeKeys
	allowed *string
}

func (w recordingValidator) Validate(ctx context.Context, text string, req *apikey.Request) apikey.Verdict {
	v := w.fakeKeys.Validate(ctx, text, req)
	if v.Code == apikey.Valid {
		*w.allowed = text
	}
	return v
}

// FuzzCheck sends arbitrary messages. An allowing response needs a key that the validator
// accepted and that the message contains completely; no response contains a key.
func FuzzCheck(f *testing.F) {
	var allowed string
	s := newServer(f, options{
		validator: recordingValidator{newKeys(), &allowed}, hides: true,
		sources: []string{"bearer", "x-api-key", "query:k", "cookie:sid"}, proxies: []string{"10.0.0.0/8"},
	})
	for _, seed := range []*authv3.CheckRequest{
		{},
		rawRequest("/a", "x-api-key", keyRoot), rawRequest("/a?k="+keyRoot+"&%6b=1", "cookie", "sid="+keyRoot+"; a=b", "x-request-id", keyRoot),
		rawRequest("/a", "cookie", "sid="+keyRoot+"; a=\xff", "authorization", "Bearer "+keyRoot),
		plainRequest("/a?x", map[string]string{"authorization": "Bearer " + keyComma, "cookie": "a,b", "X-API-KEY": keyTail}),
		withRequirements(rawRequest("/a", "authorization", "Bearer key-of-acme", "x-forwarded-for", "203.0.113.1, 10.0.0.2"), "scope", "orders:read x", "org_id", "acme"),
		withRequirements(withPeer(rawRequest("/a", "x-api-key", "key-of-an-office"), socket("10.0.0.1")), "policy", "orders"),
	} {
		message, err := proto.Marshal(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(message)
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		var asked authv3.CheckRequest
		if proto.Unmarshal(message, &asked) != nil {
			return
		}
		allowed = ""
		answer := check(t, s, &asked)
		if (answer.GetOkResponse() != nil) != (allowed != "") {
			t.Fatalf("the validator accepted %q: got answer %v", allowed, answer)
		}
		if !strings.Contains(string(message), allowed) && !strings.Contains(string(message), "%") {
			t.Fatalf("the key %q is not in the request %v", allowed, &asked)
		}
		if id, _ := header(answer, forwardauth.HeaderRequestID); !forwardauth.SafeRequestID(id) {
			t.Fatalf("X-Request-Id: got %q", id)
		}
		if _, err := proto.Marshal(answer); err != nil {
			t.Fatal(err)
		}
		if allowed != "" && allowed != keyOther {
			for _, name := range identityHeaders {
				if value, _ := header(answer, name); strings.Contains(value, allowed) {
					t.Fatalf("%s contains the key: %q", name, value)
				}
			}
		}
	})
}
