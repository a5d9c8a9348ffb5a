package extauthz

import (
	"context"
	"maps"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/forwardauth"
)

// clientRequest is the client's request as Envoy describes it: the parts that
// forward-auth reads. Absent parts are empty, and so contain no key.
func clientRequest(ctx context.Context, attributes *authv3.AttributeContext) *http.Request {
	described := attributes.GetRequest().GetHttp()
	_, query, _ := strings.Cut(described.GetPath(), "?")
	r := &http.Request{
		Method:     described.GetMethod(),
		URL:        &url.URL{RawQuery: query},
		Header:     headers(described),
		RemoteAddr: peerAddress(attributes.GetSource().GetAddress()),
	}
	return r.WithContext(ctx)
}

// headers are the client's, in either of the two forms in which Envoy sends them.
// Envoy writes names in lower case, but names are compared without case.
func headers(described *authv3.AttributeContext_HttpRequest) http.Header {
	joined, raw := described.GetHeaders(), described.GetHeaderMap().GetHeaders()
	all := headerValues{header: make(http.Header, len(joined)+len(raw)), block: make([]string, 0, len(joined)+len(raw))}
	for name, value := range joined {
		if !all.add(name, value) {
			// Two spellings of one name: their order must not change from call to call.
			return sortedHeaders(joined, raw)
		}
	}
	addRaw(&all, raw)
	return all.header
}

// sortedHeaders adds the headers in the order of their names.
func sortedHeaders(joined map[string]string, raw []*corev3.HeaderValue) http.Header {
	all := headerValues{header: make(http.Header, len(joined)+len(raw))}
	for _, name := range slices.Sorted(maps.Keys(joined)) {
		all.add(name, joined[name])
	}
	addRaw(&all, raw)
	return all.header
}

func addRaw(all *headerValues, headers []*corev3.HeaderValue) {
	for _, header := range headers {
		value := header.GetValue()
		if raw := header.GetRawValue(); len(raw) > 0 {
			value = string(raw)
		}
		all.add(header.GetKey(), value)
	}
}

// headerValues are headers whose values are in one block: a slice for each would be
// allocated on its own.
type headerValues struct {
	header http.Header
	block  []string
}

// add trims white space around a value, as HTTP/1 does. A pseudo-header (":path")
// is added like any other: no key source has such a name. It reports whether the name
// is new.
func (v *headerValues) add(name, value string) bool {
	name = textproto.CanonicalMIMEHeaderKey(name)
	value = textproto.TrimString(value)
	if values, found := v.header[name]; found {
		v.header[name] = append(values, value)
		return false
	}
	v.block = append(v.block, value)
	n := len(v.block)
	v.header[name] = v.block[n-1 : n : n] // its capacity is one, so that a later value moves it
	return true
}

// peerAddress is the client's end of its connection to Envoy, in the form of
// RemoteAddr. A Unix socket and an internal listener of Envoy have no address.
func peerAddress(address *corev3.Address) string {
	socket := address.GetSocketAddress()
	if socket == nil {
		return "@"
	}
	return net.JoinHostPort(socket.GetAddress(), strconv.FormatUint(uint64(socket.GetPortValue()), 10))
}

// separateJoined ensures that no key is read from values that Envoy has joined.
// Envoy joins the values of a repeated header with a comma: always those of
// Authorization, and those of every header unless encode_raw_headers is set. A
// comma is legal in a key, so "a" and "b" would become the key "a,b". With a
// space beside it no text is a key. names are the headers from which a key is
// read. all is not changed.
func separateJoined(all http.Header, described *authv3.AttributeContext_HttpRequest, names []string) http.Header {
	everyHeader := len(described.GetHeaders()) > 0
	changed, cloned := all, false
	for _, name := range names {
		values := all[name]
		if name != headerAuthorization && !everyHeader || !slices.ContainsFunc(values, hasComma) {
			continue
		}
		if !cloned {
			changed, cloned = maps.Clone(all), true
		}
		changed[name] = make([]string, len(values))
		for i, value := range values {
			changed[name][i] = strings.ReplaceAll(value, ",", ", ,")
		}
	}
	return changed
}

func hasComma(value string) bool { return strings.Contains(value, ",") }

// The context_extensions that are read in another way than the requirements of a query
// (forwardauth.IsRequirement).
const (
	extensionPolicy = "policy"
	extensionScope  = "scope"
)

// question reads the requirements from the route's context_extensions, which the
// client cannot change. It reads them completely, or fails.
func (s *Server) question(extensions map[string]string) (forwardauth.Question, *forwardauth.QuestionError) {
	if policy, found := extensions[extensionPolicy]; found {
		if len(extensions) > 1 {
			return forwardauth.Question{}, misconfigured("context_extensions must have either policy, or scope, org_id, project_id, require_org and require_project")
		}
		return s.authority.ByPolicy(policy)
	}
	needed := url.Values{}
	for name, value := range extensions {
		switch {
		case name == extensionScope:
			// Not strings.Fields: the meaning of nothing, or of two spaces, is unclear.
			needed[name] = strings.Split(value, " ")
		case forwardauth.IsRequirement(name):
			needed[name] = []string{value}
		default:
			return forwardauth.Question{}, misconfigured("context_extensions may have only policy, or scope (separated by spaces), org_id, project_id, require_org and require_project")
		}
	}
	return s.authority.ByQuery(needed.Encode())
}

func misconfigured(detail string) *forwardauth.QuestionError {
	return &forwardauth.QuestionError{Code: api.CodeBadRequest, Detail: detail}
}

// withClientQuery lets the key be found in the client's own query, if a query
// parameter is among the key sources. It refuses a query that can be parsed in
// two ways.
func (s *Server) withClientQuery(q forwardauth.Question, raw string) (forwardauth.Question, *forwardauth.QuestionError) {
	if !s.readsQuery || raw == "" {
		return q, nil
	}
	query, err := url.ParseQuery(raw)
	if err != nil { // its text quotes the query
		return q, misconfigured("the query must have the form name=value&name=value with %-escapes")
	}
	return q.In(query), nil
}
