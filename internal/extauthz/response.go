package extauthz

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"

	"github.com/keytail/keytail/internal/forwardauth"
)

const (
	headerAuthorization = "Authorization"
	headerCookie        = "Cookie"
)

// identityHeaders are the headers of an allowed request that are keytail's alone.
var identityHeaders = forwardauth.IdentityHeaders()

// neverForwarded are the headers that keytail has in every response and that no API gets: each
// request that the API sees has passed the check. A client's copy of them would be a forgery.
var neverForwarded = []string{forwardauth.HeaderResult, forwardauth.HeaderStaleness}

// okResponse allows the request, with the identity headers and the request id of an
// answer. Each of them overwrites what the client sent, and Envoy removes the client's
// copies of those that the answer does not have, and of those that are never forwarded.
func okResponse(header http.Header) *authv3.OkHttpResponse {
	allowed := &authv3.OkHttpResponse{
		Headers:         make([]*corev3.HeaderValueOption, 0, len(identityHeaders)+2), // the request id, and one of hide
		HeadersToRemove: make([]string, 0, len(identityHeaders)+len(neverForwarded)),
	}
	for _, name := range identityHeaders {
		if values := header[name]; len(values) > 0 {
			allowed.Headers = append(allowed.Headers, overwrite(name, values[0]))
		} else {
			allowed.HeadersToRemove = append(allowed.HeadersToRemove, name)
		}
	}
	allowed.HeadersToRemove = append(allowed.HeadersToRemove, neverForwarded...)
	allowed.Headers = append(allowed.Headers, overwrite(forwardauth.HeaderRequestID, header.Get(forwardauth.HeaderRequestID)))
	return allowed
}

func allow(allowed *authv3.OkHttpResponse) *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status:       &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: allowed},
	}
}

// deny refuses the request with a response for the client. An outage is a
// refusal, too, because Envoy lets errors pass if failure_mode_allow is set, and
// refusals never.
func deny(status int, header http.Header, body []byte) *authv3.CheckResponse {
	refused := &authv3.DeniedHttpResponse{
		Status: &typev3.HttpStatus{Code: typev3.StatusCode(status)},
		Body:   string(body),
	}
	for name, values := range header {
		refused.Headers = append(refused.Headers, overwrite(name, values[0]))
	}
	return &authv3.CheckResponse{
		Status:       &rpcstatus.Status{Code: int32(grpcCode(status))},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: refused},
	}
}

// grpcCode is the gRPC code of an HTTP status that refuses the request.
func grpcCode(status int) codes.Code {
	switch {
	case status >= http.StatusInternalServerError:
		return codes.Unavailable
	case status == http.StatusUnauthorized:
		return codes.Unauthenticated
	default:
		return codes.PermissionDenied
	}
}

// overwrite sets a header, whether it exists or not. What is left of a client's
// own header need not be UTF-8, which a message must be: other bytes become "!",
// as where Envoy itself puts them into a message (it ignores a RawValue here).
func overwrite(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: strings.ToValidUTF8(value, "!")},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// hide removes the key from the request that Envoy forwards: it strips a copy of
// everything that the sources may contain, and sends Envoy the difference.
func (s *Server) hide(allowed *authv3.OkHttpResponse, r *http.Request) {
	stripped := &http.Request{Header: r.Header.Clone(), URL: &url.URL{RawQuery: r.URL.RawQuery}}
	// Envoy joins several Authorization headers, so each part counts.
	if values := stripped.Header[headerAuthorization]; len(values) > 0 {
		stripped.Header[headerAuthorization] = splitLists(values)
	}
	before := stripped.Header.Clone()
	forwardauth.Strip(s.authority.Sources(), stripped)
	for name, values := range before {
		switch kept := stripped.Header[name]; {
		case len(kept) == 0:
			allowed.HeadersToRemove = append(allowed.HeadersToRemove, name)
		case !slices.Equal(kept, values):
			allowed.Headers = append(allowed.Headers, overwrite(name, strings.Join(kept, separator(name))))
		}
	}
	allowed.QueryParametersToRemove = removedNames(r.URL.RawQuery, stripped.URL.RawQuery)
}

// splitLists are the parts between commas.
func splitLists(values []string) []string {
	var parts []string
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			parts = append(parts, strings.Trim(part, " \t"))
		}
	}
	return parts
}

// separator joins the values of a header.
func separator(name string) string {
	if name == headerCookie {
		return "; "
	}
	return ", "
}

// removedNames are the names of parameters that before has and after has not, as
// they are written: Envoy compares them without decoding, so api%5Fkey is not
// api_key to it.
func removedNames(before, after string) []string {
	if before == after {
		return nil
	}
	kept := parameterNames(after)
	return slices.DeleteFunc(parameterNames(before), func(name string) bool { return slices.Contains(kept, name) })
}

func parameterNames(query string) []string {
	var names []string
	for pair := range strings.SplitSeq(query, "&") {
		if name, _, _ := strings.Cut(pair, "="); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
