package routes

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"
	"github.com/tidwall/gjson"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/strictjson"
)

// maxBody bounds verify's body, in bytes (docs/http.md#verify).
const maxBody = 16 << 10

// verifyRequest is verify's body.
type verifyRequest struct {
	key string // "": absent
	apikey.Request
}

// readVerifyRequest reads verify's body. A body that can be read in two ways is
// refused, because a proxy in front of keytail may have read it in the other way.
func readVerifyRequest(c *gin.Context) (*verifyRequest, *callerError) {
	// A requirement in the query would have no effect.
	if c.Request.URL.RawQuery != "" {
		return nil, badRequest("this path takes no query: put scopes and ids into the body")
	}
	body, err := readJSON(c, maxBody, "the body may have at most 16 KiB")
	if err != nil {
		return nil, err
	}
	return parseVerifyRequest(body)
}

// readJSON reads a body that is valid JSON of at most so many bytes.
func readJSON(c *gin.Context, most int64, tooLong string) ([]byte, *callerError) {
	if err := checkMediaType(c.Request.Header); err != nil {
		return nil, err
	}
	body, err := readBody(c, most, tooLong)
	if err != nil {
		return nil, err
	}
	// encoding/json would silently replace invalid UTF-8.
	if !utf8.Valid(body) {
		return nil, badRequest("the body is not valid UTF-8")
	}
	if !json.Valid(body) {
		return nil, badRequest("the body is not a single JSON value")
	}
	return body, nil
}

// checkMediaType requires JSON without a content encoding.
func checkMediaType(header http.Header) *callerError {
	if types := header["Content-Type"]; len(types) != 1 || !isJSON(types[0]) {
		return &callerError{code: api.CodeMediaType, detail: "the body must be JSON, sent with Content-Type: application/json"}
	}
	if encoding := header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return &callerError{code: api.CodeMediaType, detail: "the body must be sent without Content-Encoding"}
	}
	return nil
}

// isJSON reports whether a Content-Type is JSON. Parameters, even malformed ones,
// are ignored: none changes how JSON is read (RFC 8259, section 11).
func isJSON(contentType string) bool {
	mediaType, _, err := mime.ParseMediaType(contentType)
	return mediaType == "application/json" && (err == nil || errors.Is(err, mime.ErrInvalidMediaParameter))
}

// readBody reads at most so many bytes, and nothing if Content-Length is larger.
func readBody(c *gin.Context, most int64, tooLong string) ([]byte, *callerError) {
	tooLarge := &callerError{code: api.CodeBodyTooLarge, detail: tooLong}
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
		return nil, badRequest("the body could not be read completely")
	}
	return body, nil
}

func parseVerifyRequest(body []byte) (*verifyRequest, *callerError) {
	var q verifyRequest
	if err := walkObject(body, q.readField); err != nil {
		return nil, err
	}
	return &q, nil
}

// walkObject calls read for each field of an object. Decoding into a struct would
// not do: encoding/json takes the last of two fields with one name, ignores case,
// and accepts null for any type. encoding/json/v2, which is strict, is still an
// experiment of Go, accepts null, and its errors quote the input, which may be a
// key.
func walkObject(body []byte, read func(name string, value gjson.Result) *callerError) *callerError {
	var problem *callerError
	err := strictjson.Fields(body, func(name string, value gjson.Result) error {
		problem = read(name, value)
		if problem == nil {
			return nil // a nil *callerError would not be a nil error
		}
		return problem
	})
	switch {
	case problem != nil:
		return problem
	case errors.Is(err, strictjson.ErrNotObject):
		return badRequest("the body must be a JSON object")
	case err != nil:
		return badRequest("a field is repeated")
	}
	return nil
}

// readField reads the value of one field.
func (q *verifyRequest) readField(name string, value gjson.Result) (err *callerError) {
	switch name {
	case "key":
		q.key, err = readString(name, value)
	case "scopes":
		q.Scopes, err = readScopes(value)
	case "org_id":
		q.OrgID, err = readID(name, value)
	case "project_id":
		q.ProjectID, err = readID(name, value)
	case "require_org":
		q.RequireOrg, err = readBool(name, value)
	case "require_project":
		q.RequireProject, err = readBool(name, value)
	case "ip":
		q.IP, err = readIP(value)
	case "min_revision":
		q.MinRevision, err = readRevision(name, value)
	default:
		err = badRequest("the body may have only the fields key, scopes, org_id, project_id, require_org, require_project, ip and min_revision")
	}
	return err
}

func readString(name string, value gjson.Result) (string, *callerError) {
	if value.Type != gjson.String {
		return "", badRequest(name + " must be a string")
	}
	return value.Str, nil
}

// readBool reads true or false: a client that sends 1 or "true" may mean something
// else.
func readBool(name string, value gjson.Result) (bool, *callerError) {
	if !value.IsBool() {
		return false, badRequest(name + " must be true or false")
	}
	return value.Bool(), nil
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
	return parseIP(text)
}

func parseIP(text string) (netip.Addr, *callerError) {
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, badRequest("ip must be an IPv4 or IPv6 address without a zone")
	}
	return addr.Unmap(), nil
}

// readRevision reads the revision of an earlier response. The error does not
// quote the text, which may be a key in the wrong place.
func readRevision(name string, value gjson.Result) (uint64, *callerError) {
	text, problem := readString(name, value)
	if problem != nil {
		return 0, problem
	}
	revision, err := clustertime.Parse(text)
	if err != nil {
		return 0, badRequest(name + " must be a revision of 16 hex digits, as a response has it")
	}
	return uint64(revision), nil
}

// checkEscapes refuses half of a surrogate pair ("\ud800"), which both
// encoding/json and gjson turn into the replacement character. It refuses that
// character itself, too, which no id or scope contains on purpose. (A key with it
// is malformed anyway.)
func checkEscapes(name, text string) *callerError {
	if strings.ContainsRune(text, utf8.RuneError) {
		return badRequest(name + " contains half of a surrogate pair, or the replacement character")
	}
	return nil
}
