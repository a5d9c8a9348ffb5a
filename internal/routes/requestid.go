package routes

import (
	"crypto/rand"
	"net/http"
	"strings"
)

// headerRequestID ties a request to its answer and its log line.
const headerRequestID = "X-Request-Id"

// maxRequestIDLen leaves room for trace ids of all makers.
const maxRequestIDLen = 128

// requestID is the client's id if there is exactly one and it is safe to repeat
// in a header and a log, else a new one of 128 random bits.
func requestID(header http.Header) string {
	if values := header[headerRequestID]; len(values) == 1 && safeRequestID(values[0]) {
		return values[0]
	}
	return rand.Text()
}

// safeRequestID accepts 1 to 128 letters, digits and a few signs that mean
// nothing to a shell, a log viewer or HTML.
func safeRequestID(id string) bool {
	if id == "" || len(id) > maxRequestIDLen {
		return false
	}
	for i := range len(id) {
		c := id[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte("-_.~:/+=", c) < 0 {
			return false
		}
	}
	return true
}

// hideKey replaces a request id that contains the key: some clients put it
// there, and ids are echoed and logged.
func hideKey(header http.Header, key sentKey) {
	if key.two || key.text != "" && strings.Contains(header.Get(headerRequestID), key.text) {
		header.Set(headerRequestID, rand.Text())
	}
}
