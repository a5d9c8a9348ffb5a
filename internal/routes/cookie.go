package routes

import (
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
)

// The cookies of the pages.
const (
	cookieSession = "session"
	// cookieOutcome has the id of what the next page shows once.
	cookieOutcome = "outcome"
)

// secureCookie makes a browser accept a cookie only over TLS, from this host, without a
// domain (RFC 6265bis, "__Host-"): no other host, and nobody in the network, can plant
// one.
const secureCookie = "__Host-"

// cookieName has the port, because browsers do not separate cookies by it (RFC 6265,
// section 8.5): a person may have several instances open, each forwarded to a port of
// localhost.
func cookieName(r *http.Request, kind string) string {
	_, port, err := net.SplitHostPort(r.Host)
	if err != nil || strings.Trim(port, "0123456789") != "" {
		port = ""
	}
	return strings.TrimSuffix("keytail-"+kind+"-"+port, "-")
}

// isSecure reports whether the browser has an encrypted connection, which may end at a
// proxy: the browser itself says so in Origin.
func isSecure(r *http.Request) bool {
	return r.TLS != nil || strings.HasPrefix(r.Header.Get("Origin"), "https://")
}

// cookieOf is the value of a cookie. Empty: there is none, or two, of which one was
// planted. Over TLS only a secure one counts.
func cookieOf(r *http.Request, kind string) string {
	name := cookieName(r, kind)
	names := []string{secureCookie + name}
	if r.TLS == nil {
		names = append(names, name)
	}
	for _, name := range names {
		if found := r.CookiesNamed(name); len(found) == 1 {
			return found[0].Value
		}
	}
	return ""
}

// setCookie sets a cookie that no script can read, and that the browser sends with
// nothing that another site has begun. lives is for how long; zero: until the browser
// ends.
func setCookie(c *gin.Context, kind, value string, lives time.Duration) {
	cookie := newCookie(c.Request, kind, isSecure(c.Request))
	cookie.Value, cookie.MaxAge = value, int(lives/time.Second)
	http.SetCookie(c.Writer, cookie)
}

// clearCookie removes a cookie from the browser, in both of its forms.
func clearCookie(c *gin.Context, kind string) {
	for _, secure := range []bool{false, true} {
		cookie := newCookie(c.Request, kind, secure)
		if len(c.Request.CookiesNamed(cookie.Name)) > 0 {
			cookie.MaxAge = -1
			http.SetCookie(c.Writer, cookie)
		}
	}
}

func newCookie(r *http.Request, kind string, secure bool) *http.Cookie {
	name := cookieName(r, kind)
	if secure {
		name = secureCookie + name
	}
	return &http.Cookie{Name: name, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: secure}
}
