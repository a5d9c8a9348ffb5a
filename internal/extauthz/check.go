package extauthz

import (
	"context"
	"net/http"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/serverspan"
)

// Check answers Envoy whether a request may pass. It never returns an error:
// Envoy would treat it as an outage, which failure_mode_allow lets pass.
func (s *Server) Check(ctx context.Context, request *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	measured := s.checks.Start()
	response, status := s.check(ctx, request)
	measured.Stop(status)
	return response, nil
}

// check returns the response, and the status that the client gets if it is a refusal.
func (s *Server) check(ctx context.Context, request *authv3.CheckRequest) (response *authv3.CheckResponse, status int) {
	var span trace.Span
	defer func() {
		if value := recover(); value != nil {
			s.panicked(authv3.Authorization_Check_FullMethodName, value)
			response, status = bugResponse(), bugStatus
		}
		endSpan(span, status)
	}()
	r := clientRequest(ctx, request.GetAttributes())
	r, span = s.startSpan(r)
	header := make(http.Header, 8)
	forwardauth.SetUnavailable(header)
	var body []byte
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set(forwardauth.HeaderRequestID, forwardauth.RequestID(r, s.authority.Sources()))
	status, body = s.answer(r, request.GetAttributes(), header)
	if entry := s.logger.Check(zap.DebugLevel, "check answered"); entry != nil {
		entry.Write(zap.Int("status", status), zap.String("request_id", header.Get(forwardauth.HeaderRequestID)), serverspan.Field(r.Context()))
	}
	if status != http.StatusOK {
		return deny(status, header, body), status
	}
	allowed := okResponse(header)
	if s.hideCredentials {
		s.hide(allowed, r)
	}
	return allow(allowed), status
}

// answer is forward-auth's. 200, and only 200, allows the request.
func (s *Server) answer(r *http.Request, attributes *authv3.AttributeContext, header http.Header) (status int, body []byte) {
	q, mistake := s.question(attributes.GetContextExtensions())
	if mistake == nil {
		q, mistake = s.withClientQuery(q, r.URL.RawQuery)
	}
	if mistake != nil {
		return s.authority.Refuse(r, mistake, header)
	}
	seen := *r
	seen.Header = separateJoined(r.Header, attributes.GetRequest().GetHttp(), s.keyHeaders)
	return s.authority.Answer(&seen, &q, header)
}

// bugStatus is that of bugResponse.
const bugStatus = http.StatusServiceUnavailable

// bugResponse is the response of a handler that has panicked.
func bugResponse() *authv3.CheckResponse {
	header := http.Header{}
	forwardauth.SetUnavailable(header)
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Type", api.ProblemType)
	header.Set(forwardauth.HeaderRetryAfter, "1")
	return deny(bugStatus, header, forwardauth.Body(bugStatus, string(api.CodeInternal), "keytail failed because of a bug, see its log"))
}
