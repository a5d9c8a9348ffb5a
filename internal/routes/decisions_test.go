package routes

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/forwardauth"
)

// decisions is a DecisionLog of texts: operation, request id, trace id, code, reason.
type decisions struct{ all []string }

func (*decisions) Wants(apikey.Code) bool { return true }

func (d *decisions) Record(of forwardauth.Decision) {
	code := of.Verdict.Code.String()
	if of.Problem != "" {
		code = "problem " + string(of.Problem)
	}
	d.all = append(d.all, strings.TrimSpace(fmt.Sprint(of.Operation, " ", of.RequestID, " ", of.TraceID, " ", code, " ", of.Verdict.Reason)))
}

// take empties the log.
func (d *decisions) take() []string {
	all := d.all
	d.all = nil
	return all
}

const (
	traceID     = "4bf92f3577b34da6a3ce929d0e0e4736"
	traceparent = "00-" + traceID + "-00f067aa0ba902b7-01"
)

// TestEachAnswerAboutAKeyIsADecision, with the request id of its response.
func TestEachAnswerAboutAKeyIsADecision(t *testing.T) {
	t.Parallel()
	var log decisions
	keys := loadKeys(t)
	keys[traceID] = &apikey.Record{KeyID: "k", UserID: "u", Active: true}
	handler := newPublic(t, PublicConfig{Config: forwardauth.Config{
		Validator: keys, Decisions: &log, Policies: map[string]forwardauth.Policy{"read": {Scopes: []string{"no:scope"}}},
	}})
	for _, test := range []struct {
		name, target, key, body string
		want                    string
	}{
		{"valid", "/v1/auth", "key-of-root", "", "forward_auth id-1 " + traceID + " VALID"},
		{"unknown", "/v1/auth", "key-of-nobody", "", "forward_auth id-1 " + traceID + " NOT_FOUND"},
		{"no key", "/v1/auth", "", "", "forward_auth id-1 " + traceID + " MISSING"},
		{"policy", "/v1/auth/policy/read", "key-of-alice", "", "forward_auth id-1 " + traceID + " INSUFFICIENT_PERMISSIONS scope:no:scope"},
		{"no policy", "/v1/auth/policy/none", "key-of-root", "", "forward_auth id-1 " + traceID + " problem NO_SUCH_POLICY"},
		{"no question", "/v1/auth?scop=read", "key-of-root", "", "forward_auth id-1 " + traceID + " problem BAD_REQUEST"},
		{"the trace is a key", "/v1/auth", traceID, "", "forward_auth id-1  VALID"},
		{"verify", "/v1/keys/verify", "", `{"key":"key-of-alice","scopes":["no:scope"]}`, "verify id-1 " + traceID + " INSUFFICIENT_PERMISSIONS scope:no:scope"},
		{"verify without a key", "/v1/keys/verify", "", `{}`, "verify NEW " + traceID + " MISSING"},
		{"verify what the trace is", "/v1/keys/verify", "", `{"key":"` + traceID + `"}`, "verify id-1  VALID"},
		{"verify with a bad body", "/v1/keys/verify", "", `{`, ""},
		{"verify ahead", "/v1/keys/verify", "", `{"key":"key-of-root","min_revision":"7fffffff00000001"}`, ""},
	} {
		r := httptest.NewRequest(http.MethodGet, test.target, nil)
		if test.body != "" {
			r = verifyOf(test.body)
		}
		r.Header.Set("X-Request-Id", "id-1")
		r.Header.Set("Traceparent", traceparent)
		if test.key != "" {
			r.Header.Set("X-Api-Key", test.key)
		}
		got := answerOf(handler, r)
		var want []string
		if test.want != "" {
			want = []string{test.want}
		}
		// A body without a key replaces the id of the request: it may be a key.
		if id := got.Header.Get("X-Request-Id"); id != "id-1" {
			for i := range want {
				want[i] = strings.Replace(want[i], "NEW", id, 1)
			}
		}
		if diff := cmp.Diff(want, log.take()); diff != "" {
			t.Errorf("%s (status %d): %s", test.name, got.StatusCode, diff)
		}
	}
}

// TestARequestIDThatIsAKeyIsInNoDecision: the decision has the id that replaced it.
func TestARequestIDThatIsAKeyIsInNoDecision(t *testing.T) {
	t.Parallel()
	var log decisions
	handler := newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: loadKeys(t), Decisions: &log}})
	forward := httptest.NewRequest(http.MethodGet, "/v1/auth", nil)
	forward.Header.Set("X-Api-Key", "key-of-root")
	for _, r := range []*http.Request{forward, verifyOf(`{"key":"key-of-root"}`)} {
		r.Header.Set("X-Request-Id", "a:key-of-root")
		got := answerOf(handler, r)
		taken := log.take()
		if len(taken) != 1 || strings.Contains(taken[0], "key-of-root") || !strings.Contains(taken[0], got.Header.Get("X-Request-Id")) {
			t.Errorf("%s: %v, the response has %s", r.URL.Path, taken, got.Header.Get("X-Request-Id"))
		}
	}
}
