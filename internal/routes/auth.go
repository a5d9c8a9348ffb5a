package routes

import (
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/forwardauth"
)

// auth answers a proxy's question whether a request may pass: 200 and only 200
// allows it. What is needed is in the query.
func (p *public) auth(c *gin.Context) {
	q, mistake := p.authority.ByQuery(c.Request.URL.RawQuery)
	p.answerAuth(c, &q, mistake)
}

// authByPolicy is auth with the requirements of a policy. The query is the
// client's own and does not count in any way: it is not even read, so that no
// query makes an answer another one, and a query:NAME among the key sources is no
// source here.
func (p *public) authByPolicy(c *gin.Context) {
	q, mistake := p.authority.ByPolicy(namedPolicy(c))
	p.answerAuth(c, &q, mistake)
}

// answerAuth answers a question, or that it cannot be read.
func (p *public) answerAuth(c *gin.Context, q *forwardauth.Question, mistake *forwardauth.QuestionError) {
	p.warnOfProxy(c)
	header := c.Writer.Header()
	forwardauth.Unanswered(header)
	var status int
	var body []byte
	if mistake != nil {
		status, body = mistake.Refuse(header)
	} else {
		status, body = p.authority.Answer(c.Request, q, header)
	}
	c.Status(status)
	if status == http.StatusOK {
		c.Writer.WriteHeaderNow()
		return
	}
	_, _ = c.Writer.Write(body) // nobody is there who could be told
	c.Abort()
}

// warnOfProxy says once that somebody speaks for others and is not believed: a key's
// allow-list is then held against the proxy's address, whoever its client is. If it
// is no proxy but a client that made this up, the warning is all that comes of it.
func (p *public) warnOfProxy(c *gin.Context) {
	if !p.alone || len(c.Request.Header[forwardauth.HeaderForwardedFor]) == 0 || p.warned.Swap(true) {
		return
	}
	p.logger.Warn("forward-auth is asked with X-Forwarded-For, and no proxy is trusted, so the address that a key's allow-list is held against is that of who asks: if that is your proxy, name its address in --trusted-proxies, or every client of it has an address that is allowed")
}

// namedPolicy is the segment after api.PathPolicy as it came, undecoded, "" if there
// is none. What follows it is the client's own path and is not looked at, so no
// ".." and no escape there changes the policy. RawPath comes first: EscapedPath
// decodes and encodes anew when the path has a character that does not belong
// there, which would turn %61 into a.
func namedPolicy(c *gin.Context) string {
	raw := c.Request.URL.RawPath
	if raw == "" {
		raw = c.Request.URL.EscapedPath()
	}
	rest, found := strings.CutPrefix(raw, api.PathPolicy)
	if !found {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}
