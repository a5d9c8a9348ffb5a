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

// upstream are the headers of a yes that the API behind Envoy is to see. All of
// them are always set: an empty one overwrites what the client sent.
var upstream = []string{
	forwardauth.HeaderKeyID, forwardauth.HeaderUserID, forwardauth.HeaderOrgID,
	forwardauth.HeaderProjectID, forwardauth.HeaderScopes, forwardauth.HeaderRequestID,
}

// ok is the yes with these headers.
func ok(header http.Header) *authv3.OkHttpResponse {
	yes := &authv3.OkHttpResponse{Headers: make([]*corev3.HeaderValueOption, 0, len(upstream)+1)}
	for _, name := range upstream {
		yes.Headers = append(yes.Headers, overwrite(name, header.Get(name)))
	}
	return yes
}

func allowing(yes *authv3.OkHttpResponse) *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status:       &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: yes},
	}
}

// denied is a no with what the client is to see: an outage as well, since Envoy
// lets errors pass where failure_mode_allow is set, and refusals never.
func denied(status int, header http.Header, body []byte) *authv3.CheckResponse {
	no := &authv3.DeniedHttpResponse{
		Status: &typev3.HttpStatus{Code: typev3.StatusCode(status)},
		Body:   string(body),
	}
	for name, values := range header {
		no.Headers = append(no.Headers, overwrite(name, values[0]))
	}
	return &authv3.CheckResponse{
		Status:       &rpcstatus.Status{Code: int32(refusal(status))},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: no},
	}
}

// refusal is the gRPC code of an HTTP status that allows nothing.
func refusal(status int) codes.Code {
	switch {
	case status >= http.StatusInternalServerError:
		return codes.Unavailable
	case status == http.StatusUnauthorized:
		return codes.Unauthenticated
	default:
		return codes.PermissionDenied
	}
}

// overwrite sets a header, whether it is there or not. What is left of a client's
// own header need not be UTF-8, which a message has to be: then it becomes "!", as
// where Envoy itself puts such bytes into a message (it ignores a RawValue here).
func overwrite(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: strings.ToValidUTF8(value, "!")},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// hide takes the key out of the request that goes upstream: whatever the sources
// may hold is stripped from a copy, and Envoy is told the difference.
func (s *Server) hide(yes *authv3.OkHttpResponse, r *http.Request) {
	left := &http.Request{Header: r.Header.Clone(), URL: &url.URL{RawQuery: r.URL.RawQuery}}
	// Envoy joins what came in several Authorization headers, so each part counts.
	if values := left.Header[headerAuthorization]; len(values) > 0 {
		left.Header[headerAuthorization] = splitLists(values)
	}
	before := left.Header.Clone()
	forwardauth.Strip(s.authority.Sources(), left)
	for name, values := range before {
		switch kept := left.Header[name]; {
		case len(kept) == 0:
			yes.HeadersToRemove = append(yes.HeadersToRemove, name)
		case !slices.Equal(kept, values):
			yes.Headers = append(yes.Headers, overwrite(name, strings.Join(kept, separator(name))))
		}
	}
	yes.QueryParametersToRemove = gone(r.URL.RawQuery, left.URL.RawQuery)
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

// separator stands between the values of a header that is made one.
func separator(name string) string {
	if name == headerCookie {
		return "; "
	}
	return ", "
}

// gone are the names of parameters that before has and after has not, as they are
// written: Envoy compares them undecoded, and api%5Fkey is not api_key to it.
func gone(before, after string) []string {
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
