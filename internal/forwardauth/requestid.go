package forwardauth

import (
	"encoding/base32"
	"encoding/binary"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"

	"github.com/keytail/keytail/internal/apikey"
)

// HeaderRequestID connects a request with its response and its log line.
const HeaderRequestID = "X-Request-Id"

// maxRequestIDLen has space for the trace ids of all vendors.
const maxRequestIDLen = 128

// RequestID is the client's id if there is exactly one, it is safe to repeat in a
// header and a log, and it contains no key of the request; else a new one of 128
// random bits.
func RequestID(r *http.Request, sources []KeySource) string {
	values := r.Header[HeaderRequestID]
	if len(values) != 1 || !SafeRequestID(values[0]) {
		return newID()
	}
	if ContainsKey(values[0], r, sources) {
		return newID()
	}
	return values[0]
}

// ContainsKey reports whether text contains a key of the request, from any of the sources. A proxy may
// have joined several headers by commas: then each of the parts counts as a key, too.
func ContainsKey(text string, r *http.Request, sources []KeySource) bool {
	var query url.Values
	if r.URL != nil && r.URL.RawQuery != "" {
		// Parts that cannot be parsed are ignored here, and are an error elsewhere.
		query, _ = url.ParseQuery(r.URL.RawQuery)
	}
	for key := range allKeys(sources, r, query) {
		if strings.Contains(text, key) {
			return true
		}
	}
	for key := range allKeys(sources, &http.Request{Header: joinedParts(sources, r.Header)}, nil) {
		if len(key) >= apikey.MinTextLen && strings.Contains(text, key) {
			return true
		}
	}
	return false
}

// joinedParts are the parts between commas of the headers from which a key is read. Nil: they have no
// comma.
func joinedParts(sources []KeySource, header http.Header) http.Header {
	var parts http.Header
	for _, source := range sources {
		name := source.header()
		for _, value := range header[name] {
			if !strings.Contains(value, ",") {
				continue
			}
			if parts == nil {
				parts = http.Header{}
			}
			for part := range strings.SplitSeq(value, ",") {
				parts[name] = append(parts[name], strings.Trim(part, " \t"))
			}
		}
	}
	return parts
}

// newID is 128 random bits as 26 letters and digits, as crypto/rand.Text writes
// them. Ids are not secret, so the runtime's own generator is good enough.
func newID() string {
	var bits [16]byte
	binary.LittleEndian.PutUint64(bits[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(bits[8:], rand.Uint64())
	var text [32]byte
	base32.StdEncoding.Encode(text[:], bits[:])
	return string(text[:26])
}

// SafeRequestID accepts 1 to 128 letters, digits and a few characters that mean
// nothing to a shell, a log viewer or HTML. It refuses what has the form of a key that
// keytail has made, which may be in a place where keytail reads no key.
func SafeRequestID(id string) bool {
	if id == "" || len(id) > maxRequestIDLen {
		return false
	}
	run, inKey := 0, false // letters and digits so far, and whether an underscore precedes them
	for i := range len(id) {
		c := id[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			run++
			continue
		}
		if strings.IndexByte("-_.~:/+=", c) < 0 || inKey && run == keyDigits {
			return false
		}
		run, inKey = 0, c == '_'
	}
	return !inKey || run != keyDigits
}

// keyDigits is how many letters and digits a key that keytail has made has after the
// underscore (apikey.Generate).
const keyDigits = 49

// HideKey replaces a request id that contains the key of a body. While the key is
// not known (""), it replaces any id.
func HideKey(header http.Header, key string) {
	if strings.Contains(header.Get(HeaderRequestID), key) {
		header.Set(HeaderRequestID, newID())
	}
}
