package routes

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"
	"github.com/tidwall/gjson"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/managedkey"
)

// The query parameters of the admin API.
const (
	paramOwner    = "user_id"
	paramOrg      = "org_id"
	paramProject  = "project_id"
	paramUnused   = "unused_for"
	paramExpires  = "expires_within"
	paramInactive = "include_inactive"
	paramCursor   = "cursor"
	paramLimit    = "limit"
	paramKeyID    = "key_id"
	paramAction   = "action"
	paramWait     = "wait"
	paramTimeout  = "timeout"
)

const (
	// defaultLimit and maxLimit are for a page. A page of 500 keys takes up to 10
	// MB of memory.
	defaultLimit = 50
	maxLimit     = 500

	// maxKeyBody bounds the body of a write, in bytes.
	maxKeyBody = 64 << 10
)

// adminQuery has the query parameters of a request, and who sent it.
type adminQuery struct {
	by managedkey.Caller
	// keys has the cursor and the limit of any list.
	keys    managedkey.Query
	keyID   string
	action  string
	wait    string // "": not requested
	timeout time.Duration
}

// readAdminQuery reads the query completely, or fails: to ignore a user_id would
// widen a request.
func readAdminQuery(c *gin.Context, allowed ...string) (*adminQuery, *callerError) {
	query, err := url.ParseQuery(c.Request.URL.RawQuery)
	if err != nil {
		return nil, badRequest("the query cannot be read")
	}
	return parseAdminQuery(c, query, allowed...)
}

func parseAdminQuery(c *gin.Context, query url.Values, allowed ...string) (*adminQuery, *callerError) {
	q := adminQuery{by: callerOf(c), keys: managedkey.Query{Limit: defaultLimit}}
	for name, values := range query {
		if !slices.Contains(allowed, name) {
			return nil, badRequest("the query may have only " + strings.Join(allowed, ", "))
		}
		if len(values) != 1 {
			return nil, badRequest("a parameter is repeated")
		}
		if problem := q.readParameter(name, values[0]); problem != nil {
			return nil, problem
		}
	}
	if q.wait == "" && query.Has(paramTimeout) {
		return nil, badRequest("timeout needs wait=instance or wait=fleet")
	}
	if q.wait != "" && q.timeout == 0 {
		q.timeout = defaultWait
	}
	return &q, nil
}

// callerOf is who sent a request, and whose keys it may be about.
func callerOf(c *gin.Context) managedkey.Caller {
	return managedkey.Caller{Actor: c.GetString(actorKey), Bound: whoIs(c).Owner, RequestID: c.Writer.Header().Get(forwardauth.HeaderRequestID)}
}

func (q *adminQuery) readParameter(name, value string) (problem *callerError) {
	switch name {
	case paramOwner:
		q.by.Owner, problem = value, checkID(name, value)
	case paramOrg:
		q.keys.OrgID, problem = value, checkID(name, value)
	case paramProject:
		q.keys.ProjectID, problem = value, checkID(name, value)
	case paramUnused:
		q.keys.UnusedFor, problem = readPeriod(name, value)
	case paramExpires:
		q.keys.ExpiresWithin, problem = readPeriod(name, value)
	case paramKeyID:
		q.keyID, problem = value, checkID(name, value)
	case paramAction:
		if q.action = value; !isAction(value) {
			problem = badRequest("action must be an action of the audit, such as revoke or login_failed")
		}
	case paramInactive:
		if q.keys.IncludeInactive = value == "true"; !q.keys.IncludeInactive && value != "false" {
			problem = badRequest("include_inactive must be true or false")
		}
	case paramCursor:
		if q.keys.After = value; value == "" {
			problem = badRequest("cursor must be the next_cursor of a page, or be omitted")
		}
	case paramLimit:
		q.keys.Limit, problem = readLimit(value)
	case paramWait:
		if q.wait = value; value != api.ScopeInstance && value != api.ScopeFleet {
			problem = badRequest("wait must be instance or fleet")
		}
	case paramTimeout:
		q.timeout, problem = readTimeout(value)
	}
	return problem
}

// isAction reports whether this can be an action of the audit: lower-case letters and
// underscores. It need not be one that this version writes.
func isAction(text string) bool {
	const longest = 32
	return text != "" && len(text) <= longest && strings.Trim(text, "abcdefghijklmnopqrstuvwxyz_") == ""
}

func readLimit(value string) (int, *callerError) {
	limit, err := strconv.Atoi(value)
	if err != nil || limit < 1 || limit > maxLimit {
		return 0, badRequest("limit must be between 1 and 500")
	}
	return limit, nil
}

// readPeriod reads a duration of days, such as 14d, or one of Go, such as 336h.
func readPeriod(name, value string) (time.Duration, *callerError) {
	const day, maxDays = 24 * time.Hour, int(math.MaxInt64 / (24 * time.Hour))
	period, err := time.ParseDuration(value)
	if days, found := strings.CutSuffix(value, "d"); found {
		var n int
		// A negative number may overflow into a positive duration.
		if n, err = strconv.Atoi(days); n > 0 && n <= maxDays {
			period = time.Duration(n) * day
		}
	}
	if err != nil || period <= 0 {
		return 0, badRequest(name + " must be a duration such as 14d or 336h, more than 0")
	}
	return period, nil
}

// readPathID is the id in the path, unescaped once. (Gin would read a + as a
// space.)
func readPathID(c *gin.Context) (string, *callerError) {
	id, err := url.PathUnescape(c.Param("id"))
	if err != nil {
		return "", badRequest("the id in the path cannot be read")
	}
	return id, checkID("the id in the path", id)
}

// readIfMatch is nil for any. Weak tags match nothing (RFC 9110, section 13.1.1).
func readIfMatch(header http.Header) ([]string, *callerError) {
	values := header["If-Match"]
	if len(values) == 0 {
		return nil, nil
	}
	digests := []string{}
	for _, value := range values {
		for tag := range strings.SplitSeq(value, ",") {
			tag = strings.Trim(tag, " \t")
			if tag == "*" && len(values) == 1 && strings.Trim(value, " \t") == "*" {
				return nil, nil
			}
			if strings.HasPrefix(tag, `W/"`) && strings.HasSuffix(tag, `"`) {
				continue
			}
			digest, ok := strings.CutPrefix(tag, `"`)
			digest, closed := strings.CutSuffix(digest, `"`)
			if !ok || !closed || strings.Contains(digest, `"`) {
				return nil, badRequest("If-Match must be an ETag of a response, or *")
			}
			digests = append(digests, digest)
		}
	}
	return digests, nil
}

// newKeyFields and changeFields are the fields that the two bodies may have.
var (
	newKeyFields = []string{"user_id", "name", "scopes", "expires_at", "org_id", "project_id", "allowed_ips", "metadata"}
	changeFields = []string{"name", "scopes", "expires_at", "allowed_ips", "metadata"}
)

// readFields reads the fields of a key. Null removes a field, which has no effect
// on a new key.
func readFields(c *gin.Context, allowed []string) (*managedkey.Fields, error) {
	body, problem := readJSON(c, maxKeyBody, "the body may have at most 64 KiB")
	if problem != nil {
		return nil, problem
	}
	var f managedkey.Fields
	problem = walkObject(body, func(name string, value gjson.Result) *callerError {
		if !slices.Contains(allowed, name) {
			return badRequest("the body may have only the fields " + strings.Join(allowed, ", "))
		}
		return readKeyField(&f, name, json.RawMessage(value.Raw))
	})
	if problem != nil {
		return nil, problem
	}
	return &f, nil
}

func readKeyField(f *managedkey.Fields, name string, value json.RawMessage) (problem *callerError) {
	null := string(value) == "null"
	switch name {
	case "user_id":
		f.UserID, problem = readText(name, value)
	case "org_id":
		f.OrgID, problem = readText(name, value)
	case "project_id":
		f.ProjectID, problem = readText(name, value)
	case "name":
		f.Name, problem = readText(name, value)
	case "scopes":
		if f.ClearScopes = null; !null {
			f.Scopes, problem = readTexts(name, value)
		}
	case "allowed_ips":
		f.AllowedIPs, problem = readNetworks(name, value)
	case "expires_at":
		f.ExpiresAt, problem = readInstant(name, value)
	case "metadata":
		f.Metadata, problem = readMetadata(name, value)
	}
	return problem
}

// readText reads a string, or null as an empty one.
func readText(name string, value json.RawMessage) (*string, *callerError) {
	var text *string
	if value[0] != '"' && string(value) != "null" || json.Unmarshal(value, &text) != nil {
		return nil, badRequest(name + " must be a string or null")
	}
	if text == nil {
		text = new(string)
	}
	return text, checkEscapes(name, *text)
}

func readTexts(name string, value json.RawMessage) (*[]string, *callerError) {
	var items []json.RawMessage
	if value[0] != '[' || json.Unmarshal(value, &items) != nil {
		return nil, badRequest(name + " must be an array of strings, or null")
	}
	texts := make([]string, 0, len(items))
	for _, item := range items {
		if item[0] != '"' {
			return nil, badRequest(name + " must be an array of strings, or null")
		}
		text, problem := readText(name, item)
		if problem != nil {
			return nil, problem
		}
		texts = append(texts, *text)
	}
	return &texts, nil
}

func readNetworks(name string, value json.RawMessage) (*[]netip.Prefix, *callerError) {
	networks := []netip.Prefix{}
	if string(value) == "null" {
		return &networks, nil
	}
	texts, problem := readTexts(name, value)
	if problem != nil {
		return nil, problem
	}
	for i, text := range *texts {
		network, err := apikey.ParseNetwork(text)
		if err != nil {
			return nil, badRequest(name + "[" + strconv.Itoa(i) + "] is not valid: " + err.Error())
		}
		networks = append(networks, network)
	}
	return &networks, nil
}

// readInstant reads a time, truncated to MongoDB's milliseconds. Null is the zero
// time.
func readInstant(name string, value json.RawMessage) (*time.Time, *callerError) {
	if string(value) == "null" {
		return &time.Time{}, nil
	}
	text, problem := readText(name, value)
	if problem != nil {
		return nil, badRequest(name + " must be a time such as 2027-01-02T15:04:05Z, or null")
	}
	at, err := time.Parse(time.RFC3339, *text)
	if err != nil {
		return nil, badRequest(name + " must be a time such as 2027-01-02T15:04:05Z, or null")
	}
	if at = at.UTC().Truncate(time.Millisecond); at.IsZero() {
		at = at.Add(time.Millisecond) // as much in the past
	}
	return &at, nil
}

// readMetadata reads an object, and refuses one that can be read in two ways.
func readMetadata(name string, value json.RawMessage) (*json.RawMessage, *callerError) {
	if string(value) == "null" {
		return new(json.RawMessage), nil
	}
	if value[0] != '{' {
		return nil, badRequest(name + " must be an object or null")
	}
	tokens := json.NewDecoder(bytes.NewReader(value))
	tokens.UseNumber()
	if problem := checkNested(name, tokens, maxNesting); problem != nil {
		return nil, problem
	}
	return &value, nil
}

// maxNesting is far more than metadata needs, and far less than MongoDB allows.
const maxNesting = 32

// checkNested walks one value of valid JSON.
func checkNested(name string, tokens *json.Decoder, depth int) *callerError {
	switch token := next(tokens).(type) {
	case string:
		return checkEscapes(name, token)
	case json.Delim:
		if depth == 0 {
			return badRequest(name + " is nested too deeply: at most 32 levels are allowed")
		}
		return checkInside(name, tokens, token == '{', depth-1)
	}
	return nil
}

// next is the next token of valid JSON. There is one, so there is no error.
func next(tokens *json.Decoder) json.Token {
	token, _ := tokens.Token()
	return token
}

func checkInside(name string, tokens *json.Decoder, isObject bool, depth int) *callerError {
	seen := map[string]bool{}
	for tokens.More() {
		if isObject {
			field, _ := next(tokens).(string)
			if seen[field] {
				return badRequest(name + " repeats a field")
			}
			seen[field] = true
			if problem := checkEscapes(name, field); problem != nil {
				return problem
			}
		}
		if problem := checkNested(name, tokens, depth); problem != nil {
			return problem
		}
	}
	next(tokens)
	return nil
}

// readOverlap reads the body of a rotation. There is no default, because any
// would surprise someone.
func readOverlap(c *gin.Context) (time.Duration, error) {
	body, problem := readJSON(c, maxKeyBody, "the body may have at most 64 KiB")
	if problem != nil {
		return 0, problem
	}
	text := ""
	problem = walkObject(body, func(name string, value gjson.Result) *callerError {
		if name != "overlap_seconds" {
			return badRequest("the body may have only the field overlap_seconds")
		}
		text = value.Raw
		return nil
	})
	if problem != nil {
		return 0, problem
	}
	return parseOverlap(text)
}

// parseOverlap reads overlap_seconds. "" means that it was not sent.
func parseOverlap(text string) (time.Duration, error) {
	if text == "" {
		return 0, badRequest("overlap_seconds is missing: it is how long both keys are valid")
	}
	seconds, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0, badRequest("overlap_seconds must be a whole number of seconds")
	}
	return time.Duration(seconds) * time.Second, nil
}

// readNothing refuses a body, except an empty object, which some clients always
// send.
func readNothing(c *gin.Context) error {
	body, problem := readBody(c, maxKeyBody, "this request takes no body")
	if problem != nil {
		return problem
	}
	if len(body) > 0 && (!utf8.Valid(body) || string(bytes.TrimSpace(body)) != "{}") {
		return badRequest("this request takes no body")
	}
	return nil
}
