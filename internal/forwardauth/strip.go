package forwardauth

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Strip takes out of r what the sources may hold, so that whoever handles it next
// sees no key: bearer credentials, the headers, the query parameters and the cookies,
// and nothing else. r's header map and URL are changed.
func Strip(sources []KeySource, r *http.Request) {
	for _, source := range sources {
		switch source.kind {
		case fromBearer:
			keep(r.Header, "Authorization", func(value string) bool { return !isBearer(value) })
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

// isBearer reports whether credentials are of the scheme Bearer, even if nothing
// follows.
func isBearer(value string) bool {
	scheme, _, _ := strings.Cut(value, " ")
	return strings.EqualFold(scheme, "Bearer")
}

// stripCookie takes one cookie out of all Cookie headers.
func stripCookie(header http.Header, name string) {
	var lines []string
	for _, line := range header["Cookie"] {
		line = without(line, ";", func(pair string) bool {
			found, _, _ := strings.Cut(pair, "=")
			return strings.Trim(found, " \t") == name
		})
		if line = strings.Trim(line, " \t;"); line != "" {
			lines = append(lines, line)
		}
	}
	set(header, "Cookie", lines)
}

// without is text without the parts between separators that drop names.
func without(text, separator string, drop func(part string) bool) string {
	if text == "" {
		return ""
	}
	return strings.Join(slices.DeleteFunc(strings.Split(text, separator), drop), separator)
}

// keep leaves those of a header's values that ok names.
func keep(header http.Header, name string, ok func(value string) bool) {
	var kept []string
	for _, value := range header[name] {
		if ok(value) {
			kept = append(kept, value)
		}
	}
	set(header, name, kept)
}

// set replaces all values of a header. It changes no slice that others may hold.
func set(header http.Header, name string, values []string) {
	if len(values) == 0 {
		header.Del(name)
		return
	}
	header[name] = values
}
