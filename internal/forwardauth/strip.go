package forwardauth

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Strip removes from r everything that the sources may contain, so that the next
// handler sees no key: bearer credentials, the headers, the query parameters and
// the cookies, and nothing else. It changes r's header map and URL.
func Strip(sources []KeySource, r *http.Request) {
	for _, source := range sources {
		switch source.kind {
		case fromBearer:
			keep(r.Header, headerAuthorization, func(value string) bool { return !isBearer(value) })
		case fromHeader:
			r.Header.Del(source.name)
		case fromQuery:
			r.URL.RawQuery = without(r.URL.RawQuery, "&", func(pair string) bool {
				name, _, _ := strings.Cut(pair, "=")
				decoded, err := url.QueryUnescape(name)
				return err == nil && decoded == source.name
			})
		case fromCookie:
			stripCookie(r.Header, source.name)
		}
	}
}

// isBearer reports whether credentials have the scheme Bearer, even without a
// token.
func isBearer(value string) bool {
	scheme, _, _ := strings.Cut(value, " ")
	return strings.EqualFold(scheme, "Bearer")
}

// stripCookie removes one cookie from all Cookie headers.
func stripCookie(header http.Header, name string) {
	var lines []string
	for _, line := range header[headerCookie] {
		line = without(line, ";", func(pair string) bool {
			found, _, _ := strings.Cut(pair, "=")
			return strings.Trim(found, " \t") == name
		})
		if line = strings.Trim(line, " \t;"); line != "" {
			lines = append(lines, line)
		}
	}
	set(header, headerCookie, lines)
}

// without is text without the parts between separators for which drop is true.
func without(text, separator string, drop func(part string) bool) string {
	if text == "" {
		return ""
	}
	return strings.Join(slices.DeleteFunc(strings.Split(text, separator), drop), separator)
}

// keep removes the values of a header for which ok is false.
func keep(header http.Header, name string, ok func(value string) bool) {
	var kept []string
	for _, value := range header[name] {
		if ok(value) {
			kept = append(kept, value)
		}
	}
	set(header, name, kept)
}

// set replaces all values of a header, without changing a slice that others may
// use.
func set(header http.Header, name string, values []string) {
	if len(values) == 0 {
		header.Del(name)
		return
	}
	header[name] = values
}
