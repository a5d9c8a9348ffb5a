package extauthz

import (
	"context"
	"net/http"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.uber.org/zap"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/forwardauth"
)

// Check answers Envoy whether a request may pass. It never returns an error:
// Envoy would treat it as an outage, which failure_mode_allow lets pass.
func (s *Server) Check(ctx context.Context, request *authv3.CheckRequest) (response *authv3.CheckResponse, _ error) {
	defer func() {
		if value := recover(); value != nil {
			s.panicked(authv3.Authorization_Check_FullMethodName, value)
			response = bugResponse()
		}
	}()
	r := clientRequest(ctx, request.GetAttributes())
	header := make(http.Header, 8)
	forwardauth.SetUnavailable(header)
	status, body := s.answer(r, request.GetAttributes(), header)
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set(forwardauth.HeaderRequestID, forwardauth.RequestID(r, s.authority.Sources()))
	if entry := s.logger.Check(zap.DebugLevel, "check answered"); entry != nil {
		entry.Write(zap.Int("status", status), zap.String("request_id", header.Get(forwardauth.HeaderRequestID)))
	}
	if status != http.StatusOK {
		return deny(status, header, body), nil
	}
	allowed := okResponse(header)
	if s.hideCredentials {
		s.hide(allowed, r)
	}
	return allow(allowed), nil
}

// answer is forward-auth's. 200, and only 200, allows the request.
func (s *Server) answer(r *http.Request, attributes *authv3.AttributeContext, header http.Header) (status int, body []byte) {
	q, mistake := s.question(attributes.GetContextExtensions())
	if mistake == nil {
		q, mistake = s.withClientQuery(q, r.URL.RawQuery)
	}
	if mistake != nil {
		return mistake.Refuse(header)
	}
	seen := *r
	seen.Header = separateJoined(r.Header, attributes.GetRequest().GetHttp())
	return s.authority.Answer(&seen, &q, header)
}

// bugResponse is the response of a handler that has panicked.
func bugResponse() *authv3.CheckResponse {
	header := http.Header{}
	forwardauth.SetUnavailable(header)
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Type", api.ProblemType)
	header.Set(forwardauth.HeaderRetryAfter, "1")
	const status = http.StatusServiceUnavailable
	return deny(status, header, forwardauth.Body(status, string(api.CodeInternal), "keytail failed because of a bug, see its log"))
}
