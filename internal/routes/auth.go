package routes

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/internal/apikey"
)

// The headers of forward-auth's answers.
const (
	headerResult    = "X-Auth-Result"
	headerStaleness = "X-Auth-Staleness-Ms"
	headerChallenge = "WWW-Authenticate"
	headerKeyID     = "X-Auth-Key-Id"
	headerUserID    = "X-Auth-User-Id"
	headerOrgID     = "X-Auth-Org-Id"
	headerProjectID = "X-Auth-Project-Id"
	headerScopes    = "X-Auth-Scopes"
)

// auth answers a proxy's question whether a request may pass: 200 and only 200
// allows it. What is needed is in the query.
func (p *public) auth(c *gin.Context) {
	unfinished(c.Writer.Header())
	query, err := parseQuery(c.Request.URL.RawQuery)
	if err != nil {
		refuseAuth(c, err)
		return
	}
	req, err := parseRequirements(query, p.sources)
	if err != nil {
		refuseAuth(c, err)
		return
	}
	p.answerAuth(c, &req, query)
}

// unfinished sets what an answer says that nobody finished.
func unfinished(header http.Header) {
	header.Set(headerResult, apikey.Unavailable.String())
	header.Set(headerStaleness, "")
}

// refuseAuth answers a question that cannot be read.
func refuseAuth(c *gin.Context, err *callerError) {
	c.Writer.Header().Set(headerResult, string(err.code))
	writeProblem(c, err.code, err.detail)
}

// answerAuth judges the key that the request offers, in its headers or in this
// query, and answers. req gets the client's address and is otherwise only read.
func (p *public) answerAuth(c *gin.Context, req *apikey.Request, query url.Values) {
	header := c.Writer.Header()
	verdict := p.judge(c.Request, req, query)
	header.Set(headerResult, verdict.Code.String())
	if !verdict.AsOf.IsZero() {
		header.Set(headerStaleness, strconv.FormatInt(stalenessMS(&verdict), 10))
	}
	if verdict.Code != apikey.Valid {
		if challenge := p.challengeFor(verdict.Code, req.Scopes); challenge != "" {
			header.Set(headerChallenge, challenge)
		}
		writeVerdictProblem(c, outcomes[verdict.Code].auth, verdict.Code)
		return
	}
	setIdentity(header, verdict.Record)
	c.Status(http.StatusOK)
	c.Writer.WriteHeaderNow()
}

// judge asks the validator about the key that a request offers.
func (p *public) judge(r *http.Request, req *apikey.Request, query url.Values) apikey.Verdict {
	req.IP = clientIP(r, p.proxies)
	key := findKey(p.sources, r, query)
	if key.two {
		return trusted(p.validator.Refuse(apikey.Malformed))
	}
	return trusted(p.validator.Validate(r.Context(), key.text, req))
}

// parseQuery is url.ParseQuery, whose errors quote the query.
func parseQuery(raw string) (url.Values, *callerError) {
	if raw == "" {
		return nil, nil
	}
	query, err := url.ParseQuery(raw)
	if err != nil {
		return nil, badRequest("the query is not of the form name=value&name=value with %-escapes")
	}
	return query, nil
}

// challengeFor is WWW-Authenticate as in RFC 6750, section 3: no error when no
// key was sent, and none at all where another key or scope would not help.
func (p *public) challengeFor(code apikey.Code, needed []string) string {
	switch code {
	case apikey.Missing:
		return p.challenge
	case apikey.Malformed, apikey.NotFound, apikey.Disabled, apikey.Expired:
		return p.challenge + `, error="invalid_token"`
	case apikey.InsufficientPermissions:
		return p.challenge + `, error="insufficient_scope", scope="` + joinScopes(needed) + `"`
	case apikey.Unavailable, apikey.Forbidden, apikey.Valid:
	}
	return ""
}

// setIdentity says who the key speaks for. All five headers are always set, so
// that whatever a client sent under these names is overwritten.
func setIdentity(header http.Header, r *apikey.Record) {
	header.Set(headerKeyID, escape(r.KeyID))
	header.Set(headerUserID, escape(r.UserID))
	header.Set(headerOrgID, escape(r.OrgID))
	header.Set(headerProjectID, escape(r.ProjectID))
	header.Set(headerScopes, joinScopes(r.Scopes))
}
