package extauthz

import (
	"testing"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/forwardauth"
)

// decisions is a DecisionLog.
type decisions struct{ all []forwardauth.Decision }

func (*decisions) Wants(apikey.Code) bool { return true }

func (d *decisions) Record(of forwardauth.Decision) { d.all = append(d.all, of) }

// TestEachCheckIsADecision, with the request id that its response has, which is no key.
func TestEachCheckIsADecision(t *testing.T) {
	t.Parallel()
	var log decisions
	s := newServer(t, options{decisions: &log})
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	for _, test := range []struct {
		policy  string
		headers []string
		code    apikey.Code
		problem api.ProblemCode
	}{
		{"open", []string{"x-api-key", keyRoot}, apikey.Valid, ""},
		{"strict", []string{"x-api-key", keyRoot}, apikey.InsufficientPermissions, ""},
		{"none", []string{"x-api-key", keyRoot}, apikey.Unavailable, api.CodeNoSuchPolicy},
	} {
		for _, id := range []string{"id-1", keyRoot} {
			request := rawRequest("/a", append(test.headers, "x-request-id", id, "traceparent", "00-"+trace+"-00f067aa0ba902b7-01")...)
			request.Attributes.ContextExtensions = map[string]string{"policy": test.policy}
			answer := check(t, s, request)
			sent, _ := header(answer, "X-Request-Id")
			if len(log.all) != 1 {
				t.Fatalf("%s: %d decisions", test.policy, len(log.all))
			}
			d := log.all[0]
			log.all = nil
			if d.Operation != forwardauth.OperationExtAuthz || d.RequestID != sent || (sent == "id-1") != (id == "id-1") || d.TraceID != trace || d.Verdict.Code != test.code || d.Problem != test.problem {
				t.Errorf("%s: the response has %s, the decision is %+v", test.policy, sent, d)
			}
		}
	}
}
