package routes

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/forwardauth"
)

// auth answers a proxy whether a request may pass: 200, and only 200, allows it.
// The query has the requirements.
func (p *public) auth(c *gin.Context) {
	q, mistake := p.authority.ByQuery(c.Request.URL.RawQuery)
	p.respondAuth(c, &q, mistake)
}

// authByPolicy is auth with the requirements of a policy. The query is the
// client's and has no effect: it is not even read, so no query can change the
// response, and query:NAME is not a key source here.
func (p *public) authByPolicy(c *gin.Context) {
	q, mistake := p.authority.ByPolicy(namedPolicy(c))
	p.respondAuth(c, &q, mistake)
}

// respondAuth responds to a question, or reports that it cannot be read.
func (p *public) respondAuth(c *gin.Context, q *forwardauth.Question, mistake *forwardauth.QuestionError) {
	if !p.isAuthCaller(c) {
		mistake = &forwardauth.QuestionError{Code: api.CodeCallerNotAllowed, Detail: "this address may not send forward-auth requests: if it is your proxy, add it to --auth-caller-networks"}
	} else {
		p.warnUntrustedProxy(c)
	}
	header := c.Writer.Header()
	// A 200 has no body that a browser could misread. Without this header, an ordinary 200
	// has eight, as many as a Go map holds before it grows.
	delete(header, headerSniffing)
	forwardauth.SetUnavailable(header)
	var status int
	var body []byte
	if mistake != nil {
		status, body = p.authority.Refuse(c.Request, mistake, header)
	} else {
		status, body = p.authority.Answer(c.Request, q, header)
	}
	c.Status(status)
	if status == http.StatusOK {
		c.Writer.WriteHeaderNow()
		return
	}
	header[headerSniffing] = noSniff
	_, _ = c.Writer.Write(body) // if it fails, the client is gone
	c.Abort()
}

// isAuthCaller reports whether the peer may call forward-auth, and logs refusals.
func (p *public) isAuthCaller(c *gin.Context) bool {
	if p.authCallers == nil {
		return true
	}
	peer := forwardauth.ClientIP(c.Request, nil)
	if slices.ContainsFunc(p.authCallers, func(network netip.Prefix) bool { return network.Contains(peer) }) {
		return true
	}
	if skipped, ok := p.strangers.Allow(time.Now()); ok {
		p.logger.Warn("a peer that is not in --auth-caller-networks called forward-auth and was refused: if it is your proxy, add its address",
			zap.Stringer("peer", peer), zap.Int("times_since_last_line", skipped+1))
	}
	return false
}

// warnUntrustedProxy warns once about X-Forwarded-For from a peer that is not
// trusted: allow-lists of keys are then checked against the address of the proxy,
// for every client. A client that is not a proxy and invents the header
// causes the warning and nothing else.
func (p *public) warnUntrustedProxy(c *gin.Context) {
	if !p.trustsNoProxy || len(c.Request.Header[forwardauth.HeaderForwardedFor]) == 0 || p.warned.Swap(true) {
		return
	}
	p.logger.Warn("forward-auth received X-Forwarded-For but trusts no proxy, so allow-lists of keys are checked against the address of the peer: if the peer is your proxy, add its address to --trusted-proxies, or an allow-list that contains the proxy allows all its clients")
}

// namedPolicy is the segment after api.PathPolicy, undecoded, or "". What follows
// belongs to the client and is not read, so no ".." and no escape there changes
// the policy. RawPath comes first: EscapedPath decodes and encodes again if the
// path contains a character that needs an escape, which would turn %61 into a.
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
