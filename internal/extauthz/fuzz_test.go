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

// witness is a Validator that remembers whether it said yes, and to which key.
type witness struct {
	fakeKeys
	yes *string
}

func (w witness) Validate(ctx context.Context, text string, req *apikey.Request) apikey.Verdict {
	v := w.fakeKeys.Validate(ctx, text, req)
	if v.Code == apikey.Valid {
		*w.yes = text
	}
	return v
}

// FuzzCheck sends whatever is a message. A yes is one of the validator's, to a key
// that stands in the message as a whole; no answer has a key in it.
func FuzzCheck(f *testing.F) {
	var yes string
	s := newServer(f, options{
		validator: witness{newKeys(), &yes}, hides: true,
		sources: []string{"bearer", "x-api-key", "query:k", "cookie:sid"}, proxies: []string{"10.0.0.0/8"},
	})
	for _, seed := range []*authv3.CheckRequest{
		{},
		raw("/a", "x-api-key", keyRoot), raw("/a?k="+keyRoot+"&%6b=1", "cookie", "sid="+keyRoot+"; a=b", "x-request-id", keyRoot),
		raw("/a", "cookie", "sid="+keyRoot+"; a=\xff", "authorization", "Bearer "+keyRoot),
		plain("/a?x", map[string]string{"authorization": "Bearer " + keyComma, "cookie": "a,b", "X-API-KEY": keyTail}),
		needing(raw("/a", "authorization", "Bearer key-of-acme", "x-forwarded-for", "203.0.113.1, 10.0.0.2"), "scope", "orders:read x", "org_id", "acme"),
		needing(from(raw("/a", "x-api-key", "key-of-an-office"), socket("10.0.0.1")), "policy", "orders"),
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
		yes = ""
		answer := check(t, s, &asked)
		if (answer.GetOkResponse() != nil) != (yes != "") {
			t.Fatalf("the validator said yes to %q, and the answer is %v", yes, answer)
		}
		if !strings.Contains(string(message), yes) && !strings.Contains(string(message), "%") {
			t.Fatalf("%q was made of %v", yes, &asked)
		}
		if id, _ := header(answer, forwardauth.HeaderRequestID); !forwardauth.SafeRequestID(id) {
			t.Fatalf("X-Request-Id is %q", id)
		}
		if _, err := proto.Marshal(answer); err != nil {
			t.Fatal(err)
		}
		if yes != "" && yes != keyOther {
			for _, name := range identityHeaders {
				if value, _ := header(answer, name); strings.Contains(value, yes) {
					t.Fatalf("%s has the key: %q", name, value)
				}
			}
		}
	})
}
