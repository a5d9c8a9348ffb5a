package routes

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"
	"github.com/tidwall/gjson"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
)

// maxBody bounds verify's body, in bytes (HTTP.md, section 2).
const maxBody = 16 << 10

// question is verify's body.
type question struct {
	key     string // "": absent
	request apikey.Request
}

// readQuestion reads verify's body. Each way to read it two ways is refused,
// since whoever stands in front of keytail may have read it the other way.
func readQuestion(c *gin.Context) (*question, *callerError) {
	// A requirement that somebody puts there would not be held.
	if c.Request.URL.RawQuery != "" {
		return nil, badRequest("this path has no query: scopes and ids belong into the body")
	}
	body, err := readJSON(c, maxBody, "the body may have 16 KiB")
	if err != nil {
		return nil, err
	}
	return parseQuestion(body)
}

// readJSON reads a body that is valid JSON of at most this many bytes.
func readJSON(c *gin.Context, most int64, tooLong string) ([]byte, *callerError) {
	if err := checkMediaType(c.Request.Header); err != nil {
		return nil, err
	}
	body, err := readBody(c, most, tooLong)
	if err != nil {
		return nil, err
	}
	// encoding/json would replace what is not UTF-8, and say nothing.
	if !utf8.Valid(body) {
		return nil, badRequest("the body is not valid UTF-8")
	}
	if !json.Valid(body) {
		return nil, badRequest("the body is not one JSON value")
	}
	return body, nil
}

// checkMediaType wants JSON and nothing around it.
func checkMediaType(header http.Header) *callerError {
	if types := header["Content-Type"]; len(types) != 1 || !isJSON(types[0]) {
		return &callerError{api.CodeMediaType, "the body must be JSON, sent with Content-Type: application/json"}
	}
	if encoding := header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return &callerError{api.CodeMediaType, "the body must be sent without Content-Encoding"}
	}
	return nil
}

// isJSON reports whether a Content-Type is JSON. Its parameters, even broken
// ones, are not looked at: none changes how JSON is read (RFC 8259, section 11).
func isJSON(contentType string) bool {
	mediaType, _, err := mime.ParseMediaType(contentType)
	return mediaType == "application/json" && (err == nil || errors.Is(err, mime.ErrInvalidMediaParameter))
}

// readBody reads at most so many bytes, and nothing of a body that says that it
// is longer.
func readBody(c *gin.Context, most int64, tooLong string) ([]byte, *callerError) {
	tooLarge := &callerError{api.CodeBodyTooLarge, tooLong}
	if c.Request.ContentLength > most {
		c.Header("Connection", "close")
		return nil, tooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, most))
	var limit *http.MaxBytesError
	switch {
	case errors.As(err, &limit):
		c.Header("Connection", "close")
		return nil, tooLarge
	case err != nil:
		return nil, badRequest("the body could not be read to its end")
	}
	return body, nil
}

func parseQuestion(body []byte) (*question, *callerError) {
	var q question
	if err := walkObject(body, q.readField); err != nil {
		return nil, err
	}
	return &q, nil
}

// walkObject walks the fields of valid JSON; read gets each with its value. Decoding
// into a struct would not do: it takes the last of two fields with one name, ignores
// case, and takes null for anything.
func walkObject(body []byte, read func(name string, value gjson.Result) *callerError) (problem *callerError) {
	object := gjson.ParseBytes(body)
	if !object.IsObject() {
		return badRequest("the body must be a JSON object")
	}
	// Each name that is read is one of a few, so the list is short.
	seen := make([]string, 0, 8)
	object.ForEach(func(name, value gjson.Result) bool {
		if slices.Contains(seen, name.Str) {
			problem = badRequest("a field is given twice")
			return false
		}
		seen = append(seen, name.Str)
		problem = read(name.Str, value)
		return problem == nil
	})
	return problem
}

// readField reads the value of one field.
func (q *question) readField(name string, value gjson.Result) (err *callerError) {
	switch name {
	case "key":
		q.key, err = readString(name, value)
	case "scopes":
		q.request.Scopes, err = readScopes(value)
	case "org_id":
		q.request.OrgID, err = readID(name, value)
	case "project_id":
		q.request.ProjectID, err = readID(name, value)
	case "ip":
		q.request.IP, err = readIP(value)
	case "min_revision":
		q.request.MinRevision, err = readRevision(name, value)
	default:
		err = badRequest("the body may have the fields key, scopes, org_id, project_id, ip and min_revision, and has another")
	}
	return err
}

func readString(name string, value gjson.Result) (string, *callerError) {
	if value.Type != gjson.String {
		return "", badRequest(name + " must be a string")
	}
	return value.Str, nil
}

func readID(name string, value gjson.Result) (string, *callerError) {
	id, err := readString(name, value)
	if err == nil {
		err = checkID(name, id)
	}
	if err == nil {
		err = checkEscapes(name, id)
	}
	return id, err
}

func readScopes(value gjson.Result) (scopes []string, problem *callerError) {
	const mustBe = "scopes must be an array of strings"
	if !value.IsArray() {
		return nil, badRequest(mustBe)
	}
	value.ForEach(func(_, scope gjson.Result) bool {
		if scope.Type != gjson.String {
			problem = badRequest(mustBe)
			return false
		}
		problem = checkEscapes("a scope", scope.Str)
		scopes = append(scopes, scope.Str)
		return problem == nil
	})
	if problem != nil {
		return nil, problem
	}
	return scopes, checkScopes(scopes)
}

func readIP(value gjson.Result) (netip.Addr, *callerError) {
	text, problem := readString("ip", value)
	if problem != nil {
		return netip.Addr{}, problem
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, badRequest("ip must be an IPv4 or IPv6 address without a zone")
	}
	return addr.Unmap(), nil
}

// readRevision reads what an earlier answer or receipt gave as its revision. The
// error does not quote it: somebody may have put a key there.
func readRevision(name string, value gjson.Result) (uint64, *callerError) {
	text, problem := readString(name, value)
	if problem != nil {
		return 0, problem
	}
	revision, err := clustertime.Parse(text)
	if err != nil {
		return 0, badRequest(name + " must be a revision as an answer has it, of 16 hex digits")
	}
	return uint64(revision), nil
}

// checkEscapes refuses half of a surrogate pair ("\ud800"), which encoding/json
// turns into the replacement character, as gjson does. That character itself is refused with
// it: no id or scope has it on purpose. (In a key it is malformed anyway.)
func checkEscapes(name, text string) *callerError {
	if strings.ContainsRune(text, utf8.RuneError) {
		return badRequest(name + " has half of a surrogate pair, or the replacement character")
	}
	return nil
}
