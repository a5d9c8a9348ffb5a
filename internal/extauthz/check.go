package extauthz

import (
	"context"
	"net/http"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.uber.org/zap"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/forwardauth"
)

// codeInternal is the code of the body that says that keytail has a bug.
const codeInternal = "INTERNAL_ERROR"

// Check answers Envoy whether a request may pass. There is never an error: Envoy
// would take one for an outage, which failure_mode_allow lets pass.
func (s *Server) Check(ctx context.Context, asked *authv3.CheckRequest) (answer *authv3.CheckResponse, _ error) {
	defer func() {
		if value := recover(); value != nil {
			s.panicked(authv3.Authorization_Check_FullMethodName, value)
			answer = bug()
		}
	}()
	r := clientRequest(ctx, asked.GetAttributes())
	header := make(http.Header, 8)
	forwardauth.SetUnavailable(header)
	status, body := s.answer(r, asked.GetAttributes(), header)
	header.Set("Cache-Control", "no-store")
	header.Set(forwardauth.HeaderRequestID, forwardauth.RequestID(r, s.authority.Sources()))
	if entry := s.logger.Check(zap.DebugLevel, "question answered"); entry != nil {
		entry.Write(zap.Int("status", status), zap.String("request_id", header.Get(forwardauth.HeaderRequestID)))
	}
	if status != http.StatusOK {
		return denied(status, header, body), nil
	}
	allowed := ok(header)
	if s.hides {
		s.hide(allowed, r)
	}
	return allowing(allowed), nil
}

// answer is forward-auth's. 200, and only 200, allows.
func (s *Server) answer(r *http.Request, attributes *authv3.AttributeContext, header http.Header) (status int, body []byte) {
	q, mistake := s.question(attributes.GetContextExtensions())
	if mistake == nil {
		q, mistake = s.inQuery(q, r.URL.RawQuery)
	}
	if mistake != nil {
		return mistake.Refuse(header)
	}
	seen := *r
	seen.Header = unjoined(r.Header, attributes.GetRequest().GetHttp())
	return s.authority.Answer(&seen, &q, header)
}

// bug is the answer of a handler that has panicked.
func bug() *authv3.CheckResponse {
	header := http.Header{}
	forwardauth.SetUnavailable(header)
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Type", api.ProblemType)
	header.Set(forwardauth.HeaderRetryAfter, "1")
	const status = http.StatusServiceUnavailable
	return denied(status, header, forwardauth.Body(status, codeInternal, "keytail failed because of a bug, see its log"))
}
