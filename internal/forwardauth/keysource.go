package forwardauth

import (
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
)

// sourceKind is the kind of a KeySource.
type sourceKind uint8

const (
	fromBearer sourceKind = iota + 1
	fromHeader
	fromQuery
	fromCookie
)

// KeySource is a place in a request where forward-auth looks for the key. The
// zero value is no place. ParseKeySources makes them.
type KeySource struct {
	kind sourceKind
	name string // of the header (canonical), query parameter or cookie
}

// String is the form that ParseKeySources reads.
func (s KeySource) String() string {
	switch s.kind {
	case fromBearer:
		return "bearer"
	case fromHeader:
		if s.name == headerAPIKey {
			return "x-api-key"
		}
		return "header:" + s.name
	case fromQuery:
		return "query:" + s.name
	case fromCookie:
		return "cookie:" + s.name
	}
	return ""
}

const (
	headerAPIKey        = "X-Api-Key"
	headerAuthorization = "Authorization"
	headerCookie        = "Cookie"
)

// DefaultKeySources are bearer and x-api-key.
func DefaultKeySources() []KeySource {
	return []KeySource{{kind: fromBearer}, {kind: fromHeader, name: headerAPIKey}}
}

// Bearer is "Authorization: Bearer".
func Bearer() KeySource { return KeySource{kind: fromBearer} }

// ParseKeySources reads the places where a key may be: bearer (the credentials of
// "Authorization: Bearer"), x-api-key, header:NAME, query:NAME, cookie:NAME.
// Repetitions count once. An empty list is DefaultKeySources. The error names
// every text that is not valid.
func ParseKeySources(texts []string) ([]KeySource, error) {
	if len(texts) == 0 {
		return DefaultKeySources(), nil
	}
	var sources []KeySource
	var mistakes []error
	for _, text := range texts {
		source, err := parseKeySource(text)
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("key source %q: %w", text, err))
			continue
		}
		if !slices.Contains(sources, source) {
			sources = append(sources, source)
		}
	}
	return sources, errors.Join(mistakes...)
}

func parseKeySource(text string) (KeySource, error) {
	switch text {
	case "bearer":
		return KeySource{kind: fromBearer}, nil
	case "x-api-key":
		return KeySource{kind: fromHeader, name: headerAPIKey}, nil
	}
	kind, name, _ := strings.Cut(text, ":")
	if kind != "header" && kind != "query" && kind != "cookie" {
		return KeySource{}, errors.New("it must be bearer, x-api-key, header:NAME, query:NAME or cookie:NAME")
	}
	if !isToken(name) {
		return KeySource{}, errors.New("the name must not be empty, and may have only letters, digits and !#$%&'*+-.^_`|~")
	}
	switch kind {
	case "header":
		return headerSource(name)
	case "query":
		if IsRequirement(name) {
			return KeySource{}, errors.New("this query parameter is reserved for a requirement")
		}
		return KeySource{kind: fromQuery, name: name}, nil
	}
	return KeySource{kind: fromCookie, name: name}, nil
}

// headerSource refuses headers that have another meaning here, or that net/http
// removes from a request.
func headerSource(name string) (KeySource, error) {
	name = textproto.CanonicalMIMEHeaderKey(name)
	switch name {
	case headerAuthorization:
		return KeySource{}, errors.New(`the key is read from this header by "bearer"`)
	case headerCookie:
		return KeySource{}, errors.New(`the key is read from this header by "cookie:NAME"`)
	case HeaderRequestID, HeaderForwardedFor, "Host", "Connection", "Content-Length", "Transfer-Encoding", "Trailer":
		return KeySource{}, errors.New("this header has another meaning")
	case HeaderResult, HeaderStaleness:
		return KeySource{}, errKeytailsHeader
	}
	if slices.Contains(identityNames[:], name) {
		return KeySource{}, errKeytailsHeader
	}
	return KeySource{kind: fromHeader, name: name}, nil
}

// errKeytailsHeader: a proxy deletes the client's copies, and hiding the key would delete keytail's.
var errKeytailsHeader = errors.New("keytail sets this header in its answers: let clients send the key in another one")

// isToken reports whether name is a token of RFC 9110, section 5.6.2.
func isToken(name string) bool {
	if name == "" {
		return false
	}
	for i := range len(name) {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return true
}

// FindKey looks for the key of a request in all sources: "" if there is none. The
// same key in two places, or twice in one place, is one key; ambiguous reports
// that there are different ones.
func FindKey(sources []KeySource, r *http.Request, query url.Values) (text string, ambiguous bool) {
	for offer := range allKeys(sources, r, query) {
		if text == "" {
			text = offer
		}
		ambiguous = ambiguous || offer != text
	}
	return text, ambiguous
}

// allKeys yields all non-empty texts in the sources.
func allKeys(sources []KeySource, r *http.Request, query url.Values) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, source := range sources {
			for _, text := range source.values(r, query) {
				if source.kind == fromBearer {
					text = BearerToken(text)
				}
				if text != "" && !yield(text) {
					return
				}
			}
		}
	}
}

// values are what the request has in this place.
func (s KeySource) values(r *http.Request, query url.Values) []string {
	switch s.kind {
	case fromBearer:
		return r.Header[headerAuthorization]
	case fromHeader:
		return r.Header[s.name]
	case fromQuery:
		return query[s.name]
	case fromCookie:
		var values []string
		for _, cookie := range r.CookiesNamed(s.name) {
			values = append(values, cookie.Value)
		}
		return values
	}
	return nil
}

// BearerToken is what follows "Bearer " in any case (RFC 9110, section 11.1), or
// "" for another scheme.
func BearerToken(value string) string {
	scheme, token, found := strings.Cut(value, " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.Trim(token, " ")
}

// ReadQuery reports whether a key may be in the query.
func ReadQuery(sources []KeySource) bool {
	return slices.ContainsFunc(sources, func(s KeySource) bool { return s.kind == fromQuery })
}

// QueryNames are the query parameters that may contain a key.
func QueryNames(sources []KeySource) []string {
	var names []string
	for _, source := range sources {
		if source.kind == fromQuery {
			names = append(names, source.name)
		}
	}
	return names
}

// HeaderNames are the headers, with canonical names, from which a key is read.
func HeaderNames(sources []KeySource) []string {
	var names []string
	for _, source := range sources {
		if name := source.header(); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// header is the header that the source reads, "" for a query parameter.
func (s KeySource) header() string {
	switch s.kind {
	case fromBearer:
		return headerAuthorization
	case fromHeader:
		return s.name
	case fromCookie:
		return headerCookie
	case fromQuery:
	}
	return ""
}
